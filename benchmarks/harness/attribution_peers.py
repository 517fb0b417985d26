"""Captum and Inseq on the very cases that our methods are judged on, at their defaults."""

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from analysis.attribution.target import TokenTarget
from analysis.ground_truth.opened import OpenCase
from benchmarks.harness.peers import quiet

CAPTUM_STEPS = 50
"""Source: captum 0.9, the default of LayerIntegratedGradients, Gauss-Legendre."""


class PeerScores(NamedTuple):
    """What a peer gives for one case."""

    scores: np.ndarray
    """[n_tokens]."""
    gap: float
    """|sum − change of its target| ÷ |change|; nan where it promises no sum."""


def captum_ig(case: OpenCase) -> PeerScores:
    """LLMGradientAttribution around LayerIntegratedGradients: log-probability, baseline token 0, 50 nodes."""
    from captum.attr import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput

    lm, ids = case.problem.lm, case.problem.case.input_ids
    layer = lm.base.get_submodule(lm.family.embedding)
    method = LLMGradientAttribution(LayerIntegratedGradients(lm.model, layer), lm.tokenizer)
    target = torch.tensor(answer_of(case))
    with quiet():
        found: Any = method.attribute(TextTokenInput(case.known.prompt, lm.tokenizer), target=target)
    scores = found.seq_attr.detach().double().numpy()
    change = log_prob(case, ids) - log_prob(case, torch.zeros_like(ids))
    return PeerScores(scores, abs(scores.sum() - change) / max(abs(change), 1e-12))


def captum_ablation(case: OpenCase) -> PeerScores:
    """LLMAttribution around FeatureAblation: every token replaced by token 0."""
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    lm = case.problem.lm
    method = LLMAttribution(FeatureAblation(lm.model), lm.tokenizer)
    with quiet():
        found: Any = method.attribute(
            TextTokenInput(case.known.prompt, lm.tokenizer), target=torch.tensor(answer_of(case)), show_progress=False
        )
    return PeerScores(found.seq_attr.detach().double().numpy(), float("nan"))


def answer_of(case: OpenCase) -> list[int]:
    """The token that is explained."""
    target = case.problem.target
    if not isinstance(target, TokenTarget):
        raise TypeError("a case of the suites has a next token as its target")
    return list(target.token_ids)


@torch.no_grad()
def log_prob(case: OpenCase, ids: torch.Tensor) -> float:
    """The answer's log-probability after some tokens."""
    logits = case.problem.lm.model(input_ids=ids[None]).logits[0, -1]  # type: ignore[operator]
    return float(logits.double().log_softmax(-1)[answer_of(case)[0]])


INSEQ_SCRIPT = """
import json, sys, warnings, time
warnings.simplefilter("ignore")
import torch, inseq
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, cases = sys.argv[1], json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = inseq.load_model(AutoModelForCausalLM.from_pretrained(folder), "integrated_gradients", tokenizer=tokenizer)
found = []
for case in cases:
    start = time.perf_counter()
    out = model.attribute(case["prompt"], case["prompt"] + case["answer"], n_steps=50, show_progress=False)
    scores = out.sequence_attributions[0].target_attributions.sum(-1)[:, 0]
    found.append({"scores": scores.tolist(), "seconds": time.perf_counter() - start})
print(json.dumps(found))
"""


def inseq_ig(python: Path, folder: Path, cases: list[OpenCase]) -> list[dict[str, Any]]:
    """Inseq's integrated gradients, run by the Python of an environment of its own.

    Args:
        python: That environment's interpreter.
        folder: The model.
        cases: What is explained.
    """
    asked = [{"prompt": case.known.prompt, "answer": case.known.answer} for case in cases]
    done = subprocess.run(
        [str(python), "-c", INSEQ_SCRIPT, str(folder)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
