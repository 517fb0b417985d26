"""HETA: a semantic gate times how curved and how informative the answer is in each token.

"Hessian-Enhanced Token Attribution" (paper 004, arXiv:2604.13258):

    score_i = M_i · (β S_i + γ I_i)

1. *Gate* M: attention of every head followed through the layers to the place of the target, times the size of what the
   head would write, ‖V_i W_O‖₁, summed over layers and heads, scaled to sum 1.
2. *Curvature* S: the mean over random signs r of ‖P_i H P_i r‖₁, H the Hessian of the score in the embeddings and P_i token
   i's block. Products with H come in batches from one graph, under attention that can be differentiated twice.
3. *Information* I: the divergence KL(p ‖ p with token i masked) of the next-token distribution.

Source: the paper and its released code, whose formulas these are.
# Differs from the released code: because it attributes the last token of the prompt, where here it is the answer's token.
# Differs from the released code: because it slices W_O by the width of the shared key and value heads, which is wrong where
# queries share them; here every head is pushed through the output matrix itself.
# Differs from the released code: because `low_rank` and `use_fisher` are read there and never used, they are not offered.
# Differs from the paper: the curvature is that of the target's score, log-odds by default; ask for log_prob to have the
# paper's.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attribution.attention import Seen, places, rollout, seen
from analysis.attribution.attention_function import attending, plain
from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.case import Unit
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import HETAConfig
from analysis.attribution.gradient import free
from analysis.attribution.occlusion import batches
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from analysis.attribution.target import FeatureTarget
from sae.errors import UserError


def heta(problem: Problem, cfg: HETAConfig, seed: int) -> Scores:
    """The product, with its three terms.

    Raises:
        UserError: The target is a feature, which has no distribution to compare.
    """
    problem.refuse_without_gradients()
    if isinstance(problem.target, FeatureTarget):
        raise UserError(
            "HETA compares distributions of the next token, and a feature has none, expected a token or a class. "
            "Explain the feature by attn_lrp, integrated_gradients or occlusion."
        )
    gate = gates(problem)
    curved = curvature(problem, cfg, seed)
    lost = information(problem, cfg)
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


def gates(problem: Problem) -> Float[Tensor, "targets n"]:
    """The gate of every target, over all its tokens a simplex."""
    whole = problem.extended()
    layers = seen(whole)
    followed = rollout([one.weights for one in layers])
    total = torch.zeros(len(places(whole)), layers[0].weights.shape[-1], dtype=torch.float64)
    for index, (layer, paths) in enumerate(zip(layers, followed, strict=True)):
        sizes = written(problem, index, layer)
        total += torch.einsum("hpn,hn->pn", paths[:, places(whole)].double(), sizes.double()).cpu()
    found = torch.zeros(len(total), problem.n_tokens, dtype=torch.float64)
    n = min(problem.n_tokens, total.shape[1])
    found[:, :n] = (total / total.sum(1, keepdim=True))[:, :n]
    return found


@torch.no_grad()
def written(problem: Problem, layer: int, attention: Seen) -> Float[Tensor, "head n"]:
    """‖V_i W_O‖₁ of every head: each head's values alone through the output matrix, its bias taken away."""
    lm = problem.lm
    out = lm.base.get_submodule(f"{lm.family.layers}.{layer}.{lm.family.places['attn.hook_z'].path}")
    n_heads, n, width = attention.values.shape
    side_by_side = torch.zeros(n_heads, n, n_heads, width, dtype=lm.dtype, device=lm.device)
    side_by_side[range(n_heads), :, range(n_heads)] = attention.values.to(lm.dtype)
    nothing = torch.zeros(1, 1, n_heads * width, dtype=lm.dtype, device=lm.device)
    return (out(side_by_side.flatten(2)) - out(nothing)).float().abs().sum(-1)


def curvature(problem: Problem, cfg: HETAConfig, seed: int) -> Float[Tensor, "targets n"]:
    """S of every token and target."""
    leaf = problem.embeds[None].detach().requires_grad_()
    found = torch.zeros(problem.n_targets, problem.n_tokens, dtype=torch.float64)
    with attending(problem.lm.model, plain):
        scores = problem.score(leaf)
        for t in range(problem.n_targets):
            (gradient,) = torch.autograd.grad(scores[0, t], leaf, create_graph=True)
            for tokens, probes in probe_batches(problem, cfg, seed):
                products = hessian_products(gradient, leaf, probes)
                problem.cost.n_backwards += len(probes)
                sizes = products[:, 0].double().abs().sum(-1).cpu()  # [probe, n]
                found[t] += own_rows(sizes, tokens, problem.n_tokens)
    return found / cfg.n_probes


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


def probe_batches(
    problem: Problem, cfg: HETAConfig, seed: int
) -> Iterator[tuple[list[int] | None, Float[Tensor, "k n d"]]]:
    """Vectors of random signs: each in one token's block, named beside it, or over all free tokens."""
    signs = rademacher(problem, cfg.n_probes, seed)
    free_tokens = problem.is_free.nonzero().flatten().tolist()
    if cfg.curvature == "row":
        whole = signs * problem.is_free[:, None].to(signs)
        for some in whole.split(cfg.batch_products):
            yield None, some
        return
    pairs = [(token, probe) for token in free_tokens for probe in range(cfg.n_probes)]
    for i in range(0, len(pairs), cfg.batch_products):
        some = pairs[i : i + cfg.batch_products]
        vectors = torch.zeros(len(some), *signs.shape[1:], dtype=signs.dtype, device=signs.device)
        for row, (token, probe) in zip(vectors, some, strict=True):
            row[token] = signs[probe, token]
        yield [token for token, _ in some], vectors


def rademacher(problem: Problem, n_probes: int, seed: int) -> Float[Tensor, "k n d"]:
    """Random signs, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_probes, *problem.embeds.shape)
    return (2.0 * torch.randint(0, 2, shape, generator=generator) - 1).to(problem.embeds)


def own_rows(sizes: Float[Tensor, "k n"], tokens: list[int] | None, n: int) -> Float[Tensor, "n"]:
    """Each vector's entry at its own token, or all entries where vectors belong to none."""
    if tokens is None:
        return sizes.sum(0)
    return torch.zeros(n, dtype=sizes.dtype).index_add(
        0, torch.tensor(tokens), sizes[torch.arange(len(tokens)), torch.tensor(tokens)]
    )


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
    """Distributions at the targets' places; a classifier's is the same for all of them."""
    rows = outputs if outputs.dim() == 3 else outputs[:, None].expand(-1, len(problem.target.labels), -1)
    return rows.float().log_softmax(-1)
