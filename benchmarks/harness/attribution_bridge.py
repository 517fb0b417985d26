"""How good the bridge's estimates are, against what ablations and resampled tokens say."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr

from analysis.attribution.feature_effects import exact, integrated, patching, relp, shortlisted
from analysis.attribution.feature_site import Active, FeatureSite
from analysis.attribution.feature_tokens import Replaced, estimated
from analysis.ground_truth.opened import OpenCase
from hooks import passage
from hooks.hook_points import parse
from hooks.model import LanguageModel
from sae.base import SAE
from sae.build import build
from sae.config import TopKConfig

POINT = "blocks.1.hook_resid_post"
EXPANSION, K, N_STEPS, BATCH, LR = 4, 8, 600, 512, 2e-3
SHARE = 0.4
TOP = 3


def trained_sae(lm: LanguageModel, cases: Sequence[OpenCase], seed: int) -> SAE:
    """A TopK autoencoder of the values on some cases' tokens, without special ones."""
    rows = []
    for case in cases:
        ids = case.problem.case.input_ids[None]
        value = passage.record(lm, [parse(POINT)], ids, torch.ones_like(ids))[parse(POINT)][0]
        rows.append(value[~case.problem.case.is_special].clone())
    x = torch.cat(rows)
    sae = build(TopKConfig(k=K, expansion_factor=EXPANSION), x.shape[1])
    generator = torch.Generator().manual_seed(seed)
    sae.initialise(x, generator, 1.0)
    optimiser = torch.optim.Adam(sae.parameters(), lr=LR)
    dead = torch.zeros(sae.d_sae, dtype=torch.bool)
    for _ in range(N_STEPS):
        batch = x[torch.randint(len(x), (BATCH,), generator=generator)]
        optimiser.zero_grad()
        sae.losses(batch, dead, 1.0).total.backward()
        optimiser.step()
        sae.constrain()
    return sae.eval().requires_grad_(False)


def feature_effects(sites: Sequence[FeatureSite]) -> dict[str, float]:
    """Feature → answer, over all features that are active where the answer is read off."""
    found: dict[str, list[float]] = defaultdict(list)
    everything: dict[str, list[np.ndarray]] = defaultdict(list)
    for site in sites:
        active = site.active((len(site.problem.sequence_ids) - 1,))
        judged = exact(site, active).effect
        estimates = {
            "patching": patching(site, active),
            "relp": relp(site, active),
            "integrated": integrated(site, active, 16),
        }
        reported = shortlisted(site, [estimates["relp"], estimates["patching"]], SHARE)
        found["strongest_in_shortlist"].append(float(reported.is_exact[np.abs(judged).argmax()]))
        found["ablated_share"].append(float(reported.is_exact.mean()))
        if site.explained_variance is not None:
            found["explained_variance"].append(site.explained_variance)
        everything["exact"].append(judged)
        everything["reported"].append(reported.effect)
        everything["activation"].append(active.activation.double().numpy())
        for tier, one in estimates.items():
            everything[tier].append(one.effect)
            if one.balance is not None:
                found[f"{tier}_gap"].append(one.balance.gap)
    joined = {name: np.concatenate(values) for name, values in everything.items()}
    result = {name: float(np.mean(values)) for name, values in found.items()}
    for tier in ("patching", "relp", "integrated", "activation", "reported"):
        result[f"{tier}_pearson"] = float(pearsonr(joined[tier], joined["exact"])[0])
        result[f"{tier}_spearman"] = float(spearmanr(joined[tier], joined["exact"])[0])
    return result


def feature_tokens(sites: Sequence[FeatureSite], n_draws: int) -> dict[str, float]:
    """Token → feature, for the strongest features where the answer is read off, against resampled tokens."""
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    hits: dict[str, list[float]] = defaultdict(list)
    for site in sites:
        active = strongest(site.active((len(site.problem.sequence_ids) - 1,)))
        tokens = list(Replaced(site).tokens)
        truth = Replaced(site, "resample", n_draws, 1).effects(active)[tokens]
        ways = {
            "exact_mean": Replaced(site).effects(active)[tokens],
            "exact_resampled": Replaced(site, "resample", n_draws, 2).effects(active)[tokens],
            "viewer": site.acts[:, active.feature].double().numpy()[tokens],
        }
        for method in ("gim", "attn_lrp", "gradient_norm"):
            ways[method] = estimated(site, active, method).raw[tokens]
        for name, way in ways.items():
            for column in range(way.shape[1]):
                a, b = np.abs(way[:, column]), np.abs(truth[:, column])
                hits[name].append(float(a.argmax() == b.argmax()))
                values[name].append(a / max(a.sum(), 1e-12))
        values["truth"] += [np.abs(truth[:, c]) / max(np.abs(truth[:, c]).sum(), 1e-12) for c in range(truth.shape[1])]
    truth_all = np.concatenate(values.pop("truth"))
    result = {f"tokens_{name}_top1": float(np.mean(one)) for name, one in hits.items()}
    return result | {
        f"tokens_{name}_pearson": float(pearsonr(np.concatenate(one), truth_all)[0]) for name, one in values.items()
    }


def strongest(active: Active) -> Active:
    """The features of largest activation."""
    rows = active.activation.argsort(descending=True)[:TOP]
    return Active(*(one[rows] for one in active))
