"""Autoencoders of which it is known what becomes of concepts: dictionaries planted into units."""

import numpy as np
from scipy import sparse

from analysis.feature_quality.material import Material
from analysis.units import BACKGROUND, Unit

LABELS = ("diabetes", "fever", "cough", BACKGROUND)
N_PATIENTS, PER_PATIENT = 40, 8
D_IN = 8


def units() -> list[Unit]:
    """Two units of each label for each patient."""
    n = N_PATIENTS * PER_PATIENT
    return [Unit(0, i, i + 1, LABELS[i % 4], i // PER_PATIENT) for i in range(n)]


def labels() -> np.ndarray:
    return np.asarray([unit.label for unit in units()])


def material(features: np.ndarray, decoder: np.ndarray, noise: float = 0.05) -> Material:
    """Activations that the features explain but for a little noise."""
    rng = np.random.default_rng(0)
    offset = rng.normal(size=decoder.shape[1])
    dense = features @ decoder + offset + noise * rng.normal(size=(len(features), decoder.shape[1]))
    return Material(units(), sparse.csr_array(features.astype(np.float64)), dense, decoder, offset)


def axes(n: int) -> np.ndarray:
    """[n, D_IN] features along the first axes."""
    return np.eye(D_IN)[:n]


def one_feature_each() -> Material:
    """Each concept has a feature of its own; a fourth one fires everywhere."""
    label = labels()
    acts = np.stack([label == name for name in LABELS[:3]] + [np.ones(len(label), bool)], axis=1)
    return material(acts.astype(float), axes(4))


def absorbing() -> tuple[Material, np.ndarray]:
    """Half of the mentions of diabetes are of a kind whose own feature writes both directions, and the plain feature is silent.

    Returns:
        The material, and which units are of that kind.
    """
    label, place = labels(), np.arange(N_PATIENTS * PER_PATIENT)
    is_foot = (label == "diabetes") & (place % PER_PATIENT >= PER_PATIENT // 2)
    plain = (label == "diabetes") & ~is_foot
    decoder = axes(4).copy()
    decoder[3] = np.eye(D_IN)[0] + 0.1 * np.eye(D_IN)[4]  # diabetic foot: diabetes, and something of its own
    acts = np.stack([plain, label == "fever", label == "cough", is_foot], axis=1).astype(float)
    return material(acts, decoder), is_foot
