"""HETA: a semantic gate times how curved and how informative the answer is in each token.

"Hessian-Enhanced Token Attribution" (paper 004, arXiv:2604.13258):

    score_i = M_i · (β S_i + γ I_i)

1. *Gate* M: how much of the token could have reached the place of the target (`analysis.attribution.gate`).
2. *Curvature* S: the mean over random signs r of ‖P_i H P_i r‖₁, H the Hessian of the score in the embeddings and P_i token
   i's block. Products with H come in batches from one graph, under attention that can be differentiated twice. In a decoder
   nothing before token i has a part in its block, so the graph begins there, on the keys and values of what stands before.
3. *Information* I: the divergence KL(p ‖ p with token i masked) of the next-token distribution; a classifier's of its classes,
   or summed over its labels where several may hold.

Source: the paper and its released code, whose formulas these are.
# Differs from the released code: because it attributes the last token of the prompt, where here it is the answer's token.
# Differs from the released code: because `low_rank` and `use_fisher` are read there and never used, they are not offered.
# Differs from the paper: the curvature is that of the target's score, log-odds by default; ask for log_prob to have the
# paper's.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attribution.attention import seen
from analysis.attribution.attention_function import attending, plain
from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.case import Unit
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import HETAConfig
from analysis.attribution.gate import gates
from analysis.attribution.gradient import free
from analysis.attribution.occlusion import batches
from analysis.attribution.problem import Problem
from analysis.attribution.replaced import fused_activations
from analysis.attribution.scores import Scores
from analysis.attribution.target import ClassTarget, FeatureTarget
from sae.errors import UserError


def heta(problem: Problem, cfg: HETAConfig, seed: int) -> Scores:
    """The product, with its three terms.

    Raises:
        UserError: The target is a feature or a plain value, which has no distribution to compare.
    """
    problem.refuse_without_gradients()
    if isinstance(problem.target, FeatureTarget):
        raise UserError(
            "HETA compares distributions of the next token, and a feature has none, expected a token or a class. "
            "Explain the feature by attn_lrp, integrated_gradients or occlusion."
        )
    if isinstance(problem.target, ClassTarget) and problem.target.answering == "values":
        raise UserError(
            "HETA compares distributions, and the model's outputs are values without one, expected a classifier. "
            "Explain the value by attn_lrp, integrated_gradients or occlusion."
        )
    gate = gates(problem, seen(problem.extended()))
    lost = information(problem, cfg)  # first: it leaves keys and values as the model's own attention makes them
    curved = curvature(problem, cfg, seed)
    if problem.target.is_total:
        gate, lost = gate.mean(0, keepdim=True), lost.sum(0, keepdim=True)
    product = gate * (cfg.beta * curved + cfg.gamma * lost)
    terms = {"gate": gate, "curvature": curved, "information": lost}
    return Scores(
        "heta", free(problem, product), problem.labels,
        terms={name: free(problem, term) for name, term in terms.items()},
        diagnostics={"n_probes": cfg.n_probes, "curvature": cfg.curvature},
        caveat=CAVEATS["heta"],
    )  # fmt: skip


Probe = tuple[int | None, int]
"""A token whose block is probed, or all of them, and the number of the random signs."""


def curvature(problem: Problem, cfg: HETAConfig, seed: int) -> Float[Tensor, "targets n"]:
    """S of every token and target."""
    signs = rademacher(problem, cfg.n_probes, seed)
    found = torch.zeros(problem.n_targets, problem.n_tokens, dtype=torch.float64)
    with attending(problem.lm.model, plain), fused_activations(problem.lm):
        for start, batches_of_probes in graphs(problem, cfg):
            leaf = problem.embeds[None, start:].detach().requires_grad_()
            scores = problem.score_after(start, leaf)
            if not scores.requires_grad:  # no target is read off from here on
                continue
            for t in range(problem.n_targets):
                (gradient,) = torch.autograd.grad(scores[0, t], leaf, create_graph=True)
                for probes in batches_of_probes:
                    products = hessian_products(gradient, leaf, vectors_of(problem, signs, probes)[:, start:])
                    problem.cost.n_backwards += len(probes)
                    sizes = products[:, 0].double().abs().sum(-1).cpu()  # [probe, n − start]
                    found[t, start:] += own_rows(sizes, probes, start)
    return found / cfg.n_probes


def graphs(problem: Problem, cfg: HETAConfig) -> list[tuple[int, list[list[Probe]]]]:
    """Where each graph begins, and the batches of probes it serves: a batch each in decoders, else one graph for all."""
    if cfg.curvature == "row":
        return [(0, batched([(None, number) for number in range(cfg.n_probes)], cfg.batch_products))]
    tokens = problem.is_free.nonzero().flatten().tolist()
    found = batched([(token, number) for token in tokens for number in range(cfg.n_probes)], cfg.batch_products)
    if problem.lm.kind != "decoder":
        return [(0, found)]
    return [(one[0][0] or 0, [one]) for one in found]


def batched(probes: list[Probe], size: int) -> list[list[Probe]]:
    """So many at a time."""
    return [probes[i : i + size] for i in range(0, len(probes), size)]


def hessian_products(
    gradient: Float[Tensor, "1 n d"], leaf: Tensor, vectors: Float[Tensor, "k n d"]
) -> Float[Tensor, "k 1 n d"]:
    """H times several vectors at once.

    `torch.autograd.grad(is_grads_batched=True)` would do the same one by one in the softmax, for which its older vmap has
    no rule.
    """

    def product(vector: Float[Tensor, "n d"]) -> Float[Tensor, "1 n d"]:
        return torch.autograd.grad(gradient, leaf, vector[None], retain_graph=True)[0]

    return torch.vmap(product)(vectors)


def vectors_of(problem: Problem, signs: Float[Tensor, "m n d"], probes: list[Probe]) -> Float[Tensor, "k n d"]:
    """Random signs in one token's block each, or over all free tokens."""
    vectors = torch.zeros(len(probes), *signs.shape[1:], dtype=signs.dtype, device=signs.device)
    for row, (token, number) in zip(vectors, probes, strict=True):
        where = problem.is_free if token is None else token
        row[where] = signs[number, where]
    return vectors


def rademacher(problem: Problem, n_probes: int, seed: int) -> Float[Tensor, "k n d"]:
    """Random signs, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_probes, *problem.embeds.shape)
    return (2.0 * torch.randint(0, 2, shape, generator=generator) - 1).to(problem.embeds)


def own_rows(sizes: Float[Tensor, "k rest"], probes: list[Probe], start: int) -> Float[Tensor, "rest"]:
    """Each probe's entry at its own token, or all entries where probes belong to none; `rest` begins at `start`."""
    tokens = [token - start for token, _ in probes if token is not None]
    if not tokens:
        return sizes.sum(0)
    found = torch.zeros(sizes.shape[1], dtype=torch.float64)
    return found.index_add(0, torch.tensor(tokens), sizes[torch.arange(len(tokens)), torch.tensor(tokens)])


@torch.no_grad()
def information(problem: Problem, cfg: HETAConfig) -> Float[Tensor, "targets n"]:
    """I of every token, at every target's place."""
    absent = baseline_embeds(problem, cfg.baseline, cfg.baseline_token)
    units = [Unit("", (i,)) for i in problem.is_free.nonzero().flatten().tolist()]
    clean = log_probabilities(problem, problem.clean_outputs)
    found = torch.zeros(clean.shape[1], problem.n_tokens, dtype=torch.float64)
    for start, group in batches(problem, units):
        tail = problem.embeds[start:].repeat(len(group), 1, 1)
        for row, unit in zip(tail, group, strict=True):
            row[unit.tokens[0] - start] = absent[unit.tokens[0]]
        masked = log_probabilities(problem, problem.outputs_after(start, tail))
        loss = nn.functional.kl_div(masked, clean.expand_as(masked), reduction="none", log_target=True).sum(-1)
        found[:, [unit.tokens[0] for unit in group]] = loss.T.double().cpu()
    return found


def log_probabilities(problem: Problem, outputs: Tensor) -> Float[Tensor, "batch places outcomes"]:
    """Distributions at the targets' places; a classifier's is the same for all of them.

    Labels that may hold together are independent, so their divergence is the sum over labels of yes and no: these stand side
    by side.
    """
    rows = outputs if outputs.dim() == 3 else outputs[:, None].expand(-1, len(problem.target.labels), -1)
    if isinstance(problem.target, ClassTarget) and problem.target.answering == "many_labels":
        yes, no = (nn.functional.logsigmoid(sign * rows.float()) for sign in (1, -1))
        return torch.cat([yes, no], dim=-1)
    return rows.float().log_softmax(-1)
