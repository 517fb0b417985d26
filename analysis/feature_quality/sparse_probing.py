"""Sparse probing: how well do the k features that differ most tell a concept?

The probes of `analysis.probing` with k = 1, 2, 5, as SAEBench has them, on the units and patients that the other measures here use.

Source: Gurnee et al. 2023, arXiv:2305.01610; SAEBench, Karvonen et al. 2025, arXiv:2503.09532.

Differs from SAEBench: AUROC and not accuracy, which depends on how rare a concept is; features are means over a mention's tokens;
the mean of several halvings, with an interval over them.
"""

from typing import Any

from analysis.config import ConceptsConfig
from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material
from analysis.probing import dense_probe, sparse_probes


def sparse_probing(material: Material, cfg: QualityConfig) -> dict[str, Any]:
    """Figures of the probes on k features, beside the probe on the model's activations."""
    concepts = ConceptsConfig(
        min_mentions=cfg.min_mentions, probe_features=cfg.probe_features, probe_seeds=cfg.probe_seeds
    )
    dense = dense_probe(material.dense, material.units, concepts, cfg.seed)
    return sparse_probes(material.features.toarray(), material.units, concepts, cfg.seed, dense)
