"""How far probabilities can be taken at their word, where the truth may itself be a distribution."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

FLOOR = 1e-12
N_BINS = 10


class Reliability(NamedTuple):
    """The reliability curve: one entry per bin that holds rows."""

    confidence: np.ndarray
    """Mean probability of the best answer."""
    accuracy: np.ndarray
    """Share of the targets on it."""
    n: np.ndarray
    """Rows."""


class Calibration(NamedTuple):
    """Figures of a set of predictions."""

    ece: float
    """Expected calibration error of the best answer, equal-width bins."""
    brier: float
    """Mean squared distance between prediction and target, expected over the target's answers."""
    log_loss: float
    """Mean cross-entropy, in nats."""
    accuracy: float
    """Share of the targets on the best answers."""
    reliability: Reliability


def calibration(predicted: np.ndarray, targets: np.ndarray, n_bins: int = N_BINS) -> Calibration:
    """Figures of predictions [n, n_classes] against targets [n, n_classes], one-hot or soft.

    Source: Guo et al. 2017, arXiv:1706.04599; Brier 1950.
    """
    best = predicted.argmax(axis=1)
    sure, right = predicted.max(axis=1), targets[np.arange(len(targets)), best]
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    held = n > 0
    confidence = np.bincount(bins, sure, n_bins)[held] / n[held]
    accuracy = np.bincount(bins, right, n_bins)[held] / n[held]
    brier = (predicted**2).sum(axis=1) - 2 * (predicted * targets).sum(axis=1) + targets.sum(axis=1)
    loss = -(targets * np.log(np.maximum(predicted, FLOOR))).sum(axis=1)
    ece = float((np.abs(confidence - accuracy) * n[held]).sum() / len(targets))
    curve = Reliability(confidence, accuracy, n[held])
    return Calibration(ece, float(brier.mean()), float(loss.mean()), float(right.mean()), curve)


def temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The number to divide logits by for the smallest cross-entropy, from .05 to 20."""

    def loss(log_scale: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_scale), axis=1)).sum())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
