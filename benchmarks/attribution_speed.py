"""How fast attribution is beside Captum and the released HETA loop, on the same models, texts and settings.

    python benchmarks/attribution_speed.py --json [--quick]

Every ratio is the median over rounds in which both sides run one after the other, on one thread, in processor time; it
counts only where both give the same numbers, which is checked first. The models are random ones of the size of the figures
in docs/attribution.md: what is measured is work, not what the scores say.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.attention_function import attending, plain
from analysis.attribution.attn_lrp import attn_lrp
from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.config import (
    AttnLRPConfig,
    GatedLRPConfig,
    GradientNormConfig,
    HETAConfig,
    IntegratedGradientsConfig,
    OcclusionConfig,
)
from analysis.attribution.gated_lrp import gated_lrp
from analysis.attribution.gradient import gradient_norm
from analysis.attribution.heta import curvature, rademacher
from analysis.attribution.integrated_gradients import integrated_gradients
from analysis.attribution.occlusion import occlusion
from analysis.attribution.problem import Problem
from benchmarks.harness.transient import transient_mb
from hooks.architecture import family_of
from hooks.model import LanguageModel
from training.resources import machine

Side = Callable[[], Any]
AGREES = 1e-5


class Size:
    """What is measured on."""

    def __init__(self, quick: bool) -> None:
        self.layers, self.d, self.vocabulary = (2, 128, 8000) if quick else (6, 384, 32_000)
        self.n_tokens, self.n_steps, self.n_answer, self.rounds = (48, 16, 4, 1) if quick else (128, 32, 8, 2)
        self.heta_tokens = 12 if quick else 32


def problem_of(size: Size, kind: str, n_answer: int, n_tokens: int | None = None) -> Problem:
    """A random text and answer for a random model; no special token, since Captum knows none."""
    torch.manual_seed(0)
    shape = {"vocab_size": size.vocabulary, "bos_token_id": None, "eos_token_id": None}
    if kind == "gpt2":
        config = GPT2Config(
            n_embd=size.d, n_layer=size.layers, n_head=6 if size.d % 6 == 0 else 4, n_positions=256, **shape
        )
        model: Any = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            hidden_size=size.d, num_hidden_layers=size.layers, num_attention_heads=4, intermediate_size=2 * size.d,
            max_position_embeddings=256, tie_word_embeddings=True, **shape,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    model.eval().requires_grad_(False)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size.vocabulary)}, unk_token="w0"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    lm = LanguageModel(kind, model, tokenizer, "decoder", family_of(kind, model.config), Path())
    rng = np.random.default_rng(0)
    text = " ".join(f"w{i}" for i in rng.integers(1, size.vocabulary, n_tokens or size.n_tokens))
    answer = " ".join(f"w{i}" for i in rng.integers(1, size.vocabulary, n_answer))
    case = cases.read(text, lm)
    return Problem(lm, case, targets.continuation(case, lm, " " + answer, measure="log_prob"))


def ratio(ours: Side, theirs: Side, rounds: int) -> float:
    """Their processor time over ours, the median over rounds."""
    found = []
    for _ in range(rounds):
        spent = []
        for side in (ours, theirs):
            start = time.process_time()
            side()
            spent.append(time.process_time() - start)
        found.append(spent[1] / spent[0])
    return statistics.median(found)


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Stops where two sides do not compute the same."""
    miss = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)
    if miss > AGREES:
        raise AssertionError(f"the two sides differ by {miss:.1e} of the largest score, expected at most {AGREES}")


def captum_scores(problem: Problem, n_steps: int) -> np.ndarray:
    """What Captum's class for language models gives per answer token [answer, n]."""
    from captum.attr import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput

    embedding = problem.lm.base.get_submodule(problem.lm.family.embedding)
    explainer = LLMGradientAttribution(LayerIntegratedGradients(problem.lm.model, embedding), problem.lm.tokenizer)
    given = TextTokenInput(problem.case.text, problem.lm.tokenizer)
    answer = " ".join(problem.target.labels)
    found = explainer.attribute(given, target=answer, n_steps=n_steps, internal_batch_size=problem.rows_per_batch)
    return found.token_attr.detach().double().numpy()


def ig_sides(size: Size, kind: str, n_answer: int, *, is_total: bool = False) -> tuple[Side, Side]:
    """Integrated gradients of an answer by us and by Captum, at equal batch; a span's total is Captum's `seq_attr`."""
    problem = problem_of(size, kind, n_answer)
    cfg = IntegratedGradientsConfig(
        n_steps=size.n_steps, nodes="gauss_legendre", baseline="token", baseline_token=0, segment_correction=False
    )
    target = problem.target
    mine = targets.answer(problem.case, problem.lm, target.token_ids, measure="log_prob", is_total=is_total)  # type: ignore[union-attr]
    problem = Problem(problem.lm, problem.case, mine, batch_tokens=8 * size.n_tokens)
    ours = integrated_gradients(problem, cfg, 0).raw
    theirs = captum_scores(problem, size.n_steps)
    agree(ours[:, 0] if is_total else ours.T, theirs.sum(0) if is_total else theirs)
    return lambda: integrated_gradients(problem, cfg, 0), lambda: captum_scores(problem, size.n_steps)


def ig_ratio(size: Size, kind: str, n_answer: int, *, is_total: bool = False) -> float:
    """Captum's time over ours."""
    return ratio(*ig_sides(size, kind, n_answer, is_total=is_total), size.rounds)


def ig_memory_vs_captum(size: Size, kind: str = "gpt2") -> float:
    """Our transient memory over Captum's, one target, at equal batch: the median over rounds."""
    ours, theirs = ig_sides(size, kind, 1)
    return statistics.median(transient_mb(ours) / transient_mb(theirs) for _ in range(size.rounds + 1))


def ig_vs_captum(size: Size, kind: str = "gpt2") -> float:
    """One target."""
    return ig_ratio(size, kind, 1)


def ig_8_targets_vs_captum(size: Size, kind: str = "gpt2") -> float:
    """Eight targets, each by itself."""
    return ig_ratio(size, kind, size.n_answer)


def ig_span_total_vs_captum(size: Size, kind: str = "gpt2") -> float:
    """The sum over eight targets."""
    return ig_ratio(size, kind, size.n_answer, is_total=True)


def heta_vs_official_loop(size: Size, kind: str = "gpt2") -> float:
    """The released code's time over ours for the curvature term: it takes one retained double backward per token and probe."""
    problem = problem_of(size, kind, 1, size.heta_tokens)
    cfg = HETAConfig(n_probes=2)
    agree(curvature(problem, cfg, 0).numpy(), one_by_one(problem, cfg))
    return ratio(lambda: curvature(problem, cfg, 0), lambda: one_by_one(problem, cfg), size.rounds)


def one_by_one(problem: Problem, cfg: HETAConfig) -> np.ndarray:
    """The curvature as the released code goes about it."""
    signs, found = rademacher(problem, cfg.n_probes, 0), np.zeros((1, problem.n_tokens))
    leaf = problem.embeds[None].detach().requires_grad_()
    with attending(problem.lm.model, plain):
        (gradient,) = torch.autograd.grad(problem.score(leaf)[0, 0], leaf, create_graph=True)
        for token in range(problem.n_tokens):
            for sign in signs:
                vector = torch.zeros_like(leaf)
                vector[0, token] = sign[token]
                (product,) = torch.autograd.grad((gradient * vector).sum(), leaf, retain_graph=True)
                found[0, token] += float(product[0, token].double().abs().sum())
    return found / cfg.n_probes


def occlusion_vs_generic_loop(size: Size, kind: str = "gpt2") -> float:
    """A loop over whole texts with all logits, in batches of 16, over ours."""
    problem = problem_of(size, kind, 1)
    cfg = OcclusionConfig()
    absent, token = baseline_embeds(problem, "vocabulary_mean"), problem.target.token_ids[0]  # type: ignore[union-attr]

    @torch.no_grad()
    def generic() -> np.ndarray:
        rows = problem.embeds.repeat(problem.n_tokens, 1, 1)
        rows[range(problem.n_tokens), range(problem.n_tokens)] = absent[range(problem.n_tokens)]
        scores = [
            problem.lm.model(inputs_embeds=some).logits[:, -1].log_softmax(-1)[:, token] for some in rows.split(16)
        ]
        return (problem.clean_scores - torch.cat(scores)).double().numpy()

    problem.batch_tokens = cfg.batch_tokens
    miss = np.abs(occlusion(problem, cfg, 0).raw[:, 0] - generic()).max()
    if miss > AGREES:
        raise AssertionError(f"occlusion differs from the generic loop by {miss:.1e}")

    def ours() -> None:
        problem.__dict__.pop("keys_and_values", None)  # so that the clean pass counts
        occlusion(problem, cfg, 0)

    return ratio(ours, generic, size.rounds)


def attn_lrp_vs_gradient(size: Size, kind: str = "gpt2") -> float:
    """Time of AttnLRP over that of a plain gradient; the finding of the model's parts, once per model, not counted."""
    return over_gradient(size, kind, lambda problem: attn_lrp(problem, AttnLRPConfig(), 0))


def gated_lrp_vs_gradient(size: Size, kind: str = "gpt2") -> float:
    """The same of the default method, which follows attention through the layers besides."""
    return over_gradient(size, kind, lambda problem: gated_lrp(problem, GatedLRPConfig(), 0))


def over_gradient(size: Size, kind: str, run: Callable[[Problem], Any]) -> float:
    """Time of a method over that of a plain gradient."""
    problem = problem_of(size, kind, 1)
    run(problem)
    return ratio(
        lambda: gradient_norm(problem, GradientNormConfig(), 0), lambda: run(problem), 5 * size.rounds
    )  # fmt: skip


FIGURES = (
    ig_vs_captum,
    ig_8_targets_vs_captum,
    ig_span_total_vs_captum,
    ig_memory_vs_captum,
    heta_vs_official_loop,
    occlusion_vs_generic_loop,
    attn_lrp_vs_gradient,
    gated_lrp_vs_gradient,
)

SMALLER_IS_BETTER = (ig_memory_vs_captum, attn_lrp_vs_gradient, gated_lrp_vs_gradient)


def figures(quick: bool) -> dict[str, float]:
    """All of them, on both kinds of model: the worse of the two ratios counts."""
    torch.set_num_threads(1)
    size, found = Size(quick), {}
    for measure in FIGURES:
        each = [measure(size, kind) for kind in ("gpt2", "llama")]
        found[measure.__name__] = max(each) if measure in SMALLER_IS_BETTER else min(each)
        found[f"{measure.__name__}_gpt2"], found[f"{measure.__name__}_llama"] = each
        print(measure.__name__, [round(one, 2) for one in each], file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object, last on stdout")
    parser.add_argument("--quick", action="store_true", help="a small model, under a minute")
    options = parser.parse_args()
    found = figures(options.quick)
    peers = {"captum": __import__("captum").__version__}
    if options.json:
        print(json.dumps({"figures": found, "peers": peers, "machine": machine()}))
    else:
        for name, value in found.items():
            print(f"{name:34} {value:.2f}")


if __name__ == "__main__":
    main()
