"""How right and how fast attribution is: against known evidence, causal effects, Captum, and Inseq where it is at hand.

    python benchmarks/attribution.py [--quick] [--json] [--part speed|negation|clinic] [--models FOLDER] [--seeds N]
        [--kinds llama,gpt2] [--inseq PYTHON]

- `ig_vs_captum`, `ig_8_targets_vs_captum`, `ig_span_total_vs_captum`: seconds of Captum's integrated gradients ÷ ours, for
  one target, eight, and the sum of eight; `ig_memory_vs_captum`: memory of our pass ÷ of Captum's, at equal batch;
  `heta_vs_official_loop`: HETA's curvature by its released loop ÷ by ours.
- `completeness_gap_median`, `completeness_gap_p95`: |Σ scores − change of F| ÷ |change of F| of our integrated gradients at
  its default of 16 gradients, with the segment correction. Uncorrected, and Captum's, beside it.
- `precision_at_evidence`, `auroc_evidence`: of the default method on records with negations: the strongest token is the asked
  entry; evidence is stronger than what is none. Mean over models, with quartiles.
- `clinic_precision_at_evidence`: the default method on the clinic's notes: the strongest token is evidence.
- `feature_effect_rank_correlation`: Spearman's, of the reported effects of features on the answer (shortlist measured, the
  rest estimated) with exact ablations of all.
- `auroc_vs_captum_ig`: the default method's AUROC at evidence less that of Captum's default integrated gradients.

Every method's figures are among the peers, as METHOD_FIGURE. Models of the task are trained once and kept in --models
(about a minute each); the quick form trains one. One thread.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from transformers import logging

from analysis.attribution.config import DEFAULT
from analysis.attribution.feature_site import FeatureSite
from analysis.faithfulness.compare import Comparison, compare
from analysis.faithfulness.config import FaithfulnessConfig
from analysis.faithfulness.contender import REFERENCE, contenders
from analysis.ground_truth import negation
from analysis.ground_truth.localisation import localise
from analysis.ground_truth.negation_model import train
from analysis.ground_truth.opened import OpenCase, all_opened
from analysis.ground_truth.small_model import SmallModelConfig
from benchmarks.harness.attribution_bridge import POINT, feature_effects, feature_tokens, trained_sae
from benchmarks.harness.attribution_peers import captum_ablation, captum_ig, inseq_ig
from benchmarks.harness.report import Report, parser_of
from benchmarks.harness.rounds import Figure, spread
from clinlens import clinic
from clinlens.clinic import known
from clinlens.clinic.knowledge import HELD_OUT
from hooks.config import ModelConfig
from hooks.hook_points import parse
from hooks.model import load
from sae.errors import UserError
from training.engine import prepare

TARGETS = {
    "ig_vs_captum": "≥ 1.8", "ig_8_targets_vs_captum": "≥ 2.8", "ig_span_total_vs_captum": "≥ 12",
    "ig_memory_vs_captum": "≤ .7", "heta_vs_official_loop": "≥ 2.5", "completeness_gap_median": "≤ 1e-6",
    "completeness_gap_p95": "≤ .05", "precision_at_evidence": "≥ .95", "auroc_evidence": "≥ .985",
    "clinic_precision_at_evidence": "≥ .95", "feature_effect_rank_correlation": "≥ .95", "auroc_vs_captum_ig": "≥ .10",
}  # fmt: skip
PARTS = ("speed", "negation", "clinic")
UNFAITHFUL = ("hidden_state", "gradient_input", "integrated_gradients_zero")
"""What a comparison must flag."""
SHOWN = (
    "precision_first", "precision_hit", "precision_both", "auroc_evidence", "abpc", "comprehensiveness", "sufficiency",
    "infidelity", "seconds",
)  # fmt: skip


def main() -> None:
    """Runs everything and reports it."""
    parser = parser_of(__doc__, PARTS)
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="where trained models of the task are kept")
    parser.add_argument("--inseq", type=Path, metavar="PYTHON", help="interpreter of an environment that has Inseq")
    parser.add_argument("--seeds", type=int, default=5, help="models of each kind (default: %(default)s)")
    parser.add_argument("--kinds", default="llama,gpt2", help="architectures (default: %(default)s)")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    prepare(threads=1)
    report = Report(targets=TARGETS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.models or Path(temporary)
        if arguments.part in (None, "speed"):
            speed(report, quick=arguments.quick)
        if arguments.part in (None, "negation"):
            asked = [(kind, seed) for kind in arguments.kinds.split(",") for seed in range(arguments.seeds)]
            records(report, folder, [("gpt2", 0)] if arguments.quick else asked, arguments.inseq, quick=arguments.quick)
        if arguments.part in (None, "clinic"):
            notes(report, quick=arguments.quick)
    report.deliver(arguments)


def speed(report: Report, *, quick: bool) -> None:
    """Seconds beside Captum's and HETA's own, from the benchmark of speed; what it knows beside them are peers."""
    from benchmarks import attribution_speed

    for name, value in attribution_speed.figures(quick).items():
        if name in TARGETS:
            report.figures[name] = single(value)
        else:
            report.peers[name] = value


def records(report: Report, folder: Path, models: list[tuple[Any, int]], inseq: Path | None, *, quick: bool) -> None:
    """The suite whose truth is known entirely, over architectures and seeds."""
    n = 10 if quick else 60
    found: dict[str, list[float]] = {}
    gaps: list[np.ndarray] = []
    for kind, seed in models:
        try:
            place = train(folder, SmallModelConfig(kind=kind, seed=seed))
        except UserError as error:
            report.say(f"{kind}, seed {seed}, left out: {error}")
            continue
        cases = list(all_opened(load(ModelConfig(name=str(place))), negation.cases(n, seed)))
        comparison = judged("negation", cases, quick=quick, seed=seed)
        gaps.append(corrected_gaps(cases))
        one = figures_of(comparison) | captum_figures(cases) | bridge_figures(cases, seed, quick=quick)
        one |= {} if inseq is None else inseq_figures(inseq, place, cases)
        for name, value in one.items():
            found.setdefault(name, []).append(value)
        report.say(f"{kind}, seed {seed}: {len(cases)} of {n} cases answered rightly")
    if not gaps:
        raise SystemExit("No model learned the task, so there is no ground truth. Choose other seeds.")
    report.peers |= {name: float(np.nanmean(values)) for name, values in found.items() if not np.isnan(values).all()}
    whole = np.concatenate(gaps)
    report.figures |= {
        "completeness_gap_median": single(float(np.median(whole))),
        "completeness_gap_p95": single(float(np.quantile(whole, 0.95))),
        "precision_at_evidence": over_models(found[f"{DEFAULT}_precision_first"]),
        "auroc_evidence": over_models(found[f"{DEFAULT}_auroc_evidence"]),
        "auroc_vs_captum_ig": over_models(
            [a - b for a, b in zip(found[f"{DEFAULT}_auroc_evidence"], found["captum_ig_auroc_evidence"], strict=True)]
        ),
        "feature_effect_rank_correlation": over_models(found["bridge_reported_spearman"]),
    }


def judged(suite: str, cases: list[OpenCase], *, quick: bool, seed: int = 0) -> Comparison:
    """All methods on the cases; the dearest two only in the full form."""
    some = [one for one in contenders() if not quick or one.name not in ("heta", "shapley")]
    cfg = FaithfulnessConfig(n_draws=2 if quick else 4, n_checked=2 if quick else 4, seed=seed)
    return compare(suite, cases, some, cfg)


def figures_of(comparison: Comparison) -> dict[str, float]:
    """Every method's figures, its rank correlation with causal effects, and whether it was flagged."""
    found = {}
    for method in comparison.rows:
        found |= {f"{method}_{figure}": comparison.mean(method, figure).value for figure in SHOWN}
        found[f"{method}_tau_with_causal"] = comparison.tau[method].get(REFERENCE, float("nan"))
        found[f"{method}_flagged"] = float(bool(comparison.flags(method)))
    found["unfaithful_flagged"] = float(all(comparison.flags(method) for method in UNFAITHFUL))
    raw = comparison.rows["integrated_gradients"]["completeness_gap"]
    return found | {"ig_uncorrected_gap_median": float(np.median(raw))}


def corrected_gaps(cases: list[OpenCase]) -> np.ndarray:
    """Completeness gaps of integrated gradients at its defaults, after the correction."""
    (ours, *_) = contenders(("integrated_gradients",))
    return np.asarray([ours.run(case.problem, 0).corrected[0].gap for case in cases])


def captum_figures(cases: list[OpenCase]) -> dict[str, float]:
    """Captum's default integrated gradients and feature ablation on the same cases."""
    found = {}
    for name, method in (("captum_ig", captum_ig), ("captum_ablation", captum_ablation)):
        scores = [method(case) for case in cases]
        found |= at_evidence(name, cases, [one.scores for one in scores])
        if not np.isnan(scores[0].gap):
            found[f"{name}_gap_median"] = float(np.median([one.gap for one in scores]))
    return found


def inseq_figures(python: Path, folder: Path, cases: list[OpenCase]) -> dict[str, float]:
    """Inseq's integrated gradients on the same cases; its first column is the prompt's tokens."""
    rows = inseq_ig(python, folder, cases)
    scores = [
        np.nan_to_num(np.asarray(row["scores"], float))[: case.problem.n_tokens]
        for row, case in zip(rows, cases, strict=True)
    ]
    return at_evidence("inseq_ig", cases, scores) | {
        "inseq_ig_seconds": float(np.mean([row["seconds"] for row in rows]))
    }


def at_evidence(name: str, cases: list[OpenCase], scores: list[np.ndarray]) -> dict[str, float]:
    """Localisation of a peer's scores."""
    found = [localise(one, case.evidence, case.judged, case.direct) for one, case in zip(scores, cases, strict=True)]
    return {
        f"{name}_precision_first": float(np.mean([one.first for one in found])),
        f"{name}_auroc_evidence": float(np.nanmean([one.auroc for one in found])),
    }


def bridge_figures(cases: list[OpenCase], seed: int, *, quick: bool) -> dict[str, float]:
    """The bridge's estimates against ablations, with an autoencoder trained on the cases' tokens."""
    sae = trained_sae(cases[0].problem.lm, cases, seed)
    sites = [FeatureSite(case.problem, sae, parse(POINT)) for case in cases]
    found = feature_effects(sites) | feature_tokens(sites[: 5 if quick else 30], 4 if quick else 12)
    return {f"bridge_{name}": value for name, value in found.items()}


def notes(report: Report, *, quick: bool) -> None:
    """The clinic's notes, read by its own decoder."""
    n = 4 if quick else 40
    lm = load(ModelConfig(name=str(clinic.model_folder())))
    cases = list(all_opened(lm, known.cases(n, HELD_OUT.seed + 1)))
    report.say(f"clinic: {len(cases)} of {n} notes answered rightly")
    comparison = judged("clinic", cases, quick=quick)
    figures = figures_of(comparison)
    report.peers |= {f"clinic_{name}": value for name, value in figures.items() if not np.isnan(value)}
    figure = comparison.mean(DEFAULT, "precision_hit")
    report.figures["clinic_precision_at_evidence"] = Figure(figure.value, figure.low, figure.high)


def over_models(values: list[float]) -> Figure:
    """The mean, with the quartiles."""
    return spread(values)._replace(value=float(np.mean(values)))


def single(value: float) -> Figure:
    """A figure without a spread."""
    return Figure(value, value, value)


if __name__ == "__main__":
    main()
