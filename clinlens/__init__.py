"""ClinLens: open up a clinical language model, so that people who answer for patients can see what it listens to."""

__version__ = "0.1.0"
