"""Multinomial logistic regression on soft labels: a probe or label model that may be unsure where physicians are.

Minimises Σ_i w_i · H(target_i, softmax(W x_i + b)) + ½ · ‖W‖² ÷ C with L-BFGS; the intercept is not penalised. With hard
labels and equal weights this is scikit-learn's LogisticRegression. Inputs are standardised on the training rows.

Source: learning from label distributions, Peterson et al. 2019, arXiv:1908.07086; Uma et al. 2021, "Learning from
disagreement" (JAIR 72).
"""

from typing import NamedTuple

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from labeling.calibration import Calibration, calibration, temperature
from labeling.soft_labels import smoothed
from sae.config import Settings
from sae.errors import UserError


class SoftRegressionConfig(Settings, frozen=True):
    """How a model is fitted to soft labels."""

    C: PositiveFloat = Field(default=1.0, description="Inverse strength of the penalty on the weights.")
    entropy_smoothing: float = Field(
        default=0.0, ge=0, le=1, description="How far targets in doubt are drawn to even shares; 0 for not at all."
    )
    max_steps: PositiveInt = Field(default=500, description="Steps of L-BFGS, at most.")
    tolerance: NonNegativeFloat = Field(default=1e-7, description="Largest gradient that counts as none.")


class SoftModel(NamedTuple):
    """A fitted model."""

    weights: np.ndarray
    """[n_features, n_classes] on standardised inputs."""
    intercept: np.ndarray
    """[n_classes]."""
    mean: np.ndarray
    """[n_features] of the training rows."""
    spread: np.ndarray
    """[n_features] standard deviation of the training rows, 1 where a column does not vary."""
    loss: float
    """Mean cross-entropy of the training rows, without the penalty."""

    def logits(self, x: np.ndarray) -> np.ndarray:
        """[n, n_classes] before the softmax."""
        return (x - self.mean) / self.spread @ self.weights + self.intercept

    def probabilities(self, x: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """[n, n_classes]; logits are divided by a temperature first."""
        return softmax(self.logits(x) / scale, axis=1)


class Evaluated(NamedTuple):
    """How a model does on rows it has not seen."""

    raw: Calibration
    """As it is."""
    temperature: float
    """By which logits have to be divided for the smallest loss on the rows kept for it: above 1, it was too sure."""
    scaled: Calibration
    """After division by the temperature."""


def fit(
    x: np.ndarray, targets: np.ndarray, cfg: SoftRegressionConfig, sample_weight: np.ndarray | None = None
) -> SoftModel:
    """Fits a model to label distributions.

    Args:
        x: [n, n_features].
        targets: [n, n_classes] rows summing to 1; one-hot for hard labels.
        cfg: The settings.
        sample_weight: [n], none for 1 each.

    Raises:
        UserError: Inputs that are no finite table, soft labels that are no distributions of its rows, or weights of which
            none is above 0, or that are not one per row.
    """
    x = checked_inputs(x)
    targets = smoothed(checked(x, targets), cfg.entropy_smoothing)
    weight = np.ones(len(x)) if sample_weight is None else checked_weights(sample_weight, len(x))
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    standard = (x - mean) / spread
    start = np.zeros((x.shape[1] + 1) * targets.shape[1])
    options = {"maxiter": cfg.max_steps, "gtol": cfg.tolerance, "ftol": 1e-14}
    arguments = (standard, targets, weight, cfg.C)
    found = minimize(loss_and_gradient, start, arguments, jac=True, method="L-BFGS-B", options=options)
    both = found.x.reshape(-1, targets.shape[1])
    loss = -(weight[:, None] * targets * log_softmax(standard @ both[1:] + both[0], axis=1)).sum() / weight.sum()
    return SoftModel(both[1:], both[0], mean, spread, float(loss))


def loss_and_gradient(
    flat: np.ndarray, x: np.ndarray, targets: np.ndarray, weight: np.ndarray, c: float
) -> tuple[float, np.ndarray]:
    """Weighted soft cross-entropy with penalty, and its gradient; the first row of the parameters is the intercept."""
    both = flat.reshape(-1, targets.shape[1])
    chances = log_softmax(x @ both[1:] + both[0], axis=1)
    error = weight[:, None] * (np.exp(chances) * targets.sum(axis=1, keepdims=True) - targets)
    loss = -(weight[:, None] * targets * chances).sum() + (both[1:] ** 2).sum() / (2 * c)
    gradient = np.concatenate([error.sum(axis=0)[None], x.T @ error + both[1:] / c])
    return float(loss), gradient.ravel()


def evaluate(
    model: SoftModel,
    x: np.ndarray,
    targets: np.ndarray,
    x_kept: np.ndarray,
    targets_kept: np.ndarray,
) -> Evaluated:
    """Calibration on held-out rows, before and after a temperature fitted on rows kept for it.

    Args:
        model: The fitted model.
        x: [n, n_features] held-out rows.
        targets: [n, n_classes] theirs.
        x_kept: Rows kept for the temperature: neither trained on nor evaluated on.
        targets_kept: Theirs.

    Raises:
        UserError: Inputs or soft labels as `fit` refuses them, or inputs of another width than the model's.
    """
    x, x_kept = checked_inputs(x, len(model.mean)), checked_inputs(x_kept, len(model.mean))
    targets, targets_kept = checked(x, targets), checked(x_kept, targets_kept)
    scale = temperature(model.logits(x_kept), targets_kept)
    raw, scaled = model.probabilities(x), model.probabilities(x, scale)
    return Evaluated(calibration(raw, targets), scale, calibration(scaled, targets))


def checked_inputs(x: np.ndarray, n_features: int | None = None) -> np.ndarray:
    """Inputs as floats, or an error if they are no finite table; with as many columns as a model takes, if that is given."""
    given = np.asarray(x, float)
    if given.ndim != 2 or not len(given) or n_features not in (None, given.shape[1]):
        expected = "some rows of features" if n_features is None else f"some rows of {n_features} features"
        raise UserError(f"The inputs have shape {given.shape}, expected {expected}. Pass a table [n, n_features].")
    n_bad = int((~np.isfinite(given)).any(axis=1).sum())
    if n_bad:
        raise UserError(
            f"{n_bad} of {len(given)} rows of the inputs hold NaN or infinity, expected finite numbers. "
            "Leave these rows out or fill them in."
        )
    return given


def checked_weights(weight: np.ndarray, n: int) -> np.ndarray:
    """Weights as floats, or an error unless they are one per row, finite, none negative and one above 0."""
    given = np.asarray(weight, float)
    if given.shape != (n,):
        raise UserError(f"The sample weights have shape {given.shape} for {n} rows, expected ({n},). Pass one per row.")
    if not np.isfinite(given).all() or (given < 0).any() or not (given > 0).any():
        n_bad = int((~np.isfinite(given) | (given < 0)).sum())
        raise UserError(
            f"{n_bad} of {n} sample weights are negative or not finite, and {int((given > 0).sum())} are above 0, expected "
            "finite weights of 0 or more with one above 0. Correct them, or pass none to weigh all rows alike."
        )
    return given


def checked(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Targets as floats, or an error if they are no distributions of these rows."""
    given = np.asarray(targets, float)
    fits = given.ndim == 2 and len(given) == len(x) and given.shape[1] > 0
    if not fits or not (given >= 0).all() or not np.allclose(given.sum(axis=1), 1, atol=1e-6):
        raise UserError(
            f"The soft labels have shape {given.shape} for {len(x)} rows, or hold rows that do not sum to 1, expected one "
            "distribution per row. Pass the table's distributions or posteriors."
        )
    return given
