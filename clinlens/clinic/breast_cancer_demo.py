"""The clinical demonstration: five attribution methods on 20 synthetic breast-cancer cases, with what each can be trusted for.

    python -m clinlens.clinic.breast_cancer_demo --to runs/breast-cancer [--n-cases 20] [--json]

Writes `model/` (a small decoder trained on the rule, about a minute), `cases.jsonl` (for `clinlens attribute --cases`),
`demonstration.json`: completeness, AOPC beside a random order, agreement between methods, evidence by rule, and the hardware
profile: storage, peak memory, seconds per case, tokens per second.

Source: rebuilds doi 10.1177/11795972251407864, which shows heat maps of 20 cases and no figure of faithfulness.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import torch

from analysis.faithfulness.compare import Comparison, compare
from analysis.faithfulness.config import FaithfulnessConfig
from analysis.faithfulness.contender import contenders
from analysis.ground_truth.opened import OpenCase, all_opened
from analysis.ground_truth.small_model import BOS_ID, SmallModelConfig, kept, optimiser_of, word_ids
from clinlens.clinic.breast_cancer import WORDS, cases, draw, written
from hooks.config import ModelConfig
from hooks.model import LanguageModel, load
from sae import artefact
from sae.errors import UserError
from training.resources import PeakMemory, machine

METHODS = ("attn_lrp", "integrated_gradients", "occlusion", "gradient_norm", "hidden_state")
"""Five kinds: rule-based backward, path, perturbation, sensitivity, activation."""
SHOWN = (
    "precision_first", "precision_at_evidence", "auroc_evidence", "comprehensiveness", "sufficiency", "abpc",
    "completeness_gap", "infidelity", "stability", "seconds",
)  # fmt: skip
CLAIM = (
    "Synthetic cases, a made-up rule, a model that learned it. No claim about patients, treatment or clinical validity."
)
UNSEEN = 1000
SEED_OF_CASES = 20_000


def lessons(rng: random.Random, n: int) -> torch.Tensor:
    """Cases with their answers, as token ids."""
    ids = word_ids(WORDS)
    rows = []
    for _ in range(n):
        patient = draw(rng)
        rows.append([BOS_ID, *(ids[word] for word in [*written(patient, rng), patient.decision()[0]])])
    return torch.tensor(rows)


def fit(model: Any, cfg: SmallModelConfig) -> float:
    """Trains until the rule is known; the share of unseen cases answered rightly."""
    rng = random.Random(f"lessons:{cfg.seed}")  # noqa: S311 (nothing here is secret)
    optimiser, warmup = optimiser_of(model, cfg)
    accuracy = 0.0
    for step in range(cfg.n_steps):
        batch = lessons(rng, cfg.batch_records)
        optimiser.zero_grad()
        logits = model(input_ids=batch[:, :-1], logits_to_keep=1).logits[:, 0]
        torch.nn.functional.cross_entropy(logits, batch[:, -1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        warmup.step()
        if step % 50 == 49 or step == cfg.n_steps - 1:
            accuracy = measured(model)
            if accuracy >= cfg.least_accuracy:
                break
    return accuracy


@torch.no_grad()
def measured(model: Any) -> float:
    """Accuracy on cases that no lesson holds."""
    unseen = lessons(random.Random("unseen"), UNSEEN)  # noqa: S311 (nothing here is secret)
    found = model(input_ids=unseen[:, :-1], logits_to_keep=1).logits[:, 0].argmax(-1)
    return float((found == unseen[:, -1]).float().mean())


def trained(folder: Path) -> LanguageModel:
    """The demonstration's model."""
    cfg = SmallModelConfig(least_accuracy=0.99)
    return load(ModelConfig(name=str(kept(folder / "model", cfg, WORDS, lambda model: fit(model, cfg)))))


def demonstrate(folder: Path, n_cases: int) -> dict[str, Any]:
    """Runs everything and writes it."""
    memory = PeakMemory()
    lm = trained(folder)
    known = list(cases(n_cases, SEED_OF_CASES))
    rows = [json.dumps({"id": one.id, "text": one.prompt, "target": one.answer}, ensure_ascii=False) for one in known]
    artefact.write_text(folder / "cases.jsonl", "\n".join(rows) + "\n")
    opened = list(all_opened(lm, known))
    memory.start()
    found = compare("breast cancer", opened, contenders(METHODS), FaithfulnessConfig(n_checked=n_cases))
    memory.stop()
    result = {
        "claim": CLAIM,
        "n_cases": n_cases,
        "n_answered_rightly": len(opened),
        "methods": {name: figures(found, name) for name in found.rows},
        "kendall_tau": found.tau,
        "jaccard": found.jaccard,
        "hardware": hardware(lm, found, opened, memory.bytes),
        "origin": {
            "model": lm.fingerprint | {"model": "model"},
            "seed": SEED_OF_CASES,
            "settings": found.cfg.model_dump(),
        },
    }
    artefact.write_json(folder / "demonstration.json", result)
    return result


def figures(found: Comparison, name: str) -> dict[str, Any]:
    """One method's figures with intervals, and its flags."""
    return {one: found.mean(name, one).record() for one in SHOWN} | {"flags": found.flags(name)}


def hardware(lm: LanguageModel, found: Comparison, opened: list[OpenCase], peak_bytes: int) -> dict[str, Any]:
    """What it takes, on this machine."""
    n_tokens = sum(case.problem.n_tokens for case in opened) / len(opened)
    seconds = {name: found.mean(name, "seconds").value for name in found.rows}
    return {
        "machine": machine(),
        "storage_bytes": sum(path.stat().st_size for path in lm.folder.iterdir()),
        "n_parameters": sum(parameter.numel() for parameter in lm.model.parameters()),
        "peak_memory_bytes": peak_bytes,
        "seconds_per_case": seconds,
        "tokens_per_s": {name: n_tokens / value for name, value in seconds.items() if value > 0},
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The figures as a table."""
    head = f"{'method':24}" + "".join(f"{name[:13]:>15}" for name in SHOWN)
    rows = [CLAIM, f"{result['n_answered_rightly']} of {result['n_cases']} cases answered rightly", head]
    for name, one in result["methods"].items():
        cells = ("–" if one[figure]["value"] is None else f"{one[figure]['value']:.3g}" for figure in SHOWN)
        rows.append(f"{name:24}" + "".join(f"{cell:>15}" for cell in cells) + "  " + "; ".join(one["flags"]))
    return rows


def main(argv: list[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m clinlens.clinic.breast_cancer_demo",
        description="Five attribution methods on 20 synthetic cases.",
    )
    parser.add_argument("--to", type=Path, required=True, help="folder to write to")
    parser.add_argument("--n-cases", type=int, default=20, help="number of cases (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)  # so small a model gains nothing from more
    try:
        result = demonstrate(arguments.to, arguments.n_cases)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(result, ensure_ascii=False) if arguments.json else "\n".join(lines(result)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
