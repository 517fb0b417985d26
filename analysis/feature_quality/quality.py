"""All measures of one autoencoder."""

from typing import Any

from analysis.feature_quality.absorption import absorption
from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material, patients_of
from analysis.feature_quality.probes import dense_probes
from analysis.feature_quality.sparse_probing import sparse_probing
from analysis.feature_quality.splitting import parts_of, splitting
from analysis.feature_quality.targeted import targeted
from analysis.feature_quality.unlearning import unlearning


def quality(material: Material, cfg: QualityConfig) -> dict[str, Any]:
    """Measures one autoencoder.

    Args:
        material: Units, features, the model's activations.
        cfg: Settings.

    Raises:
        UserError: Fewer than two concepts have mentions enough.
    """
    names, patients = material.concepts(cfg), patients_of(material, cfg)
    probes = dense_probes(material, names, cfg)
    parts = [parts_of(material, is_positive, cfg) for is_positive in material.is_positive(names)]
    return {
        "n_concepts": len(names),
        "n_patients": {"choice": n_patients(material, False), "estimate": n_patients(material, True)},
        "absorption": absorption(material, names, probes, parts, patients, cfg),
        "splitting": splitting(material, names, parts, patients, cfg),
        "sparse_probing": sparse_probing(material, cfg),
        "targeted": targeted(material, names, probes, patients, cfg),
        "unlearning": unlearning(material, names, probes, cfg),
    }


def n_patients(material: Material, is_estimate: bool) -> int:
    """Patients of one half."""
    return len(set(material.patient[material.is_estimate == is_estimate].tolist()))
