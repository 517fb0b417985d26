"""The mathematics of one sparse autoencoder (SAE). Imports nothing else of ClinLens."""
