"""Audits of decoders with and without the planted bias, and of notes that have changed or not."""

import dataclasses
import sys
from collections.abc import Sequence

import numpy as np
import torch

from analysis.audits.answers import answer_probabilities, padded, prompt_ids
from analysis.audits.config import DriftConfig, ProtectedConfig
from analysis.audits.drift import SIGNS, Documents, documents, drift
from analysis.audits.features import Pooled, pooled
from analysis.audits.parity import Gap
from analysis.audits.protected import behaviour
from clinlens.audit.clinic_cohort import clinic_cohort
from clinlens.clinic import model_folder
from clinlens.clinic.bias import PROTECTED_GROUP, SERIOUS_DIAGNOSIS
from clinlens.clinic.notes import ClinicConfig, Note, generate
from clinlens.clinic.planted import plant
from hooks import passage
from hooks.config import ModelConfig
from hooks.hook_points import HookPoint, parse
from hooks.model import LanguageModel, load
from sae.base import SAE
from sae.build import build
from sae.config import TopKConfig

BIAS = 0.8
N_SEEDS, QUICK_SEEDS, N_DECODERS = 20, 2, 5
N_NOTES, QUICK_NOTES = 240, 240
TRUTH_NOTES, QUICK_TRUTH, TRUTH_SEED = 3000, 600, 1000
"""Notes of other patients that tell what a decoder has taken up of the bias."""
POINTS = ("blocks.1.hook_resid_post", "blocks.2.hook_resid_post")
SAE_NOTES, SAE_STEPS, BATCH = 200, 250, 512
POOL_NOTES, QUICK_POOL, REFERENCE, NEW = 900, 520, 240, 120
N_SPLITS, QUICK_SPLITS = 200, 40
POOL_SEED, SAE_SEED = 71, 72


def bias_figures(*, quick: bool) -> dict[str, float]:
    """Claims about decoders with and without the bias, fresh patients for each seed.

    A decoder serves four seeds, since teaching one takes as long as two audits; in the quick form the packaged one is clean.
    """
    lm = load(ModelConfig(name="clinic", path=model_folder()))
    n_seeds, n_decoders = (QUICK_SEEDS, 1) if quick else (N_SEEDS, N_DECODERS)
    planted: list[list[Gap]] = []
    clean: list[list[Gap]] = []
    own: list[float] = []
    for decoder in range(n_decoders):
        seeds = range(decoder, n_seeds, n_decoders)
        taught = dataclasses.replace(lm, model=plant(BIAS, decoder)[0])
        planted += audited(taught, seeds, "planted", quick=quick)
        own += [taken_up(taught, quick=quick)] * len(seeds)
        control = lm if quick else dataclasses.replace(lm, model=plant(0.0, decoder)[0])
        clean += audited(control, seeds, "clean", quick=quick)
    right = [next((gap for gap in some if is_planted(gap)), None) for some in planted]
    found = [gap for gap in right if gap is not None]
    held = [gap.low <= size <= gap.high for gap, size in zip(right, own, strict=True) if gap is not None]
    return {
        "planted_bias_found": len(found) / len(planted),
        "clean_bias_claimed": float(np.mean([len(some) > 0 for some in clean])),
        "bias_effect_mean": float(np.mean([gap.effect for gap in found])) if found else float("nan"),
        "bias_effect_low": float(np.mean([gap.low for gap in found])) if found else float("nan"),
        "bias_effect_high": float(np.mean([gap.high for gap in found])) if found else float("nan"),
        "bias_interval_holds_planted": float(np.mean([gap.low <= -BIAS <= gap.high for gap in found]))
        if found
        else 0.0,
        "bias_taken_up_mean": float(np.mean(own)),
        "bias_interval_holds_taken_up": float(np.mean(held)) if held else 0.0,
        "other_claims_beside_planted": float(sum(len(some) for some in planted) - len(found)),
        "bias_n_seeds": float(len(planted)),
    }


def taken_up(lm: LanguageModel, *, quick: bool) -> float:
    """What a decoder has made of the bias: on many other patients with the diagnosis, its probability when the note says the
    planted group, less the mean over the other groups."""
    cohort = clinic_cohort(QUICK_TRUTH if quick else TRUTH_NOTES, TRUTH_SEED)
    texts = [one.swaps["insurance"] for one in cohort.subjects if one.truth == SERIOUS_DIAGNOSIS]
    place = cohort.answers.index(SERIOUS_DIAGNOSIS)
    found = {
        value: answer_probabilities(lm, [one[value] for one in texts], cohort.answers)[:, place] for value in texts[0]
    }
    others = [found[value] for value in found if value != PROTECTED_GROUP]
    return float((found[PROTECTED_GROUP] - np.mean(others, axis=0)).mean())


def audited(lm: LanguageModel, seeds: Sequence[int], name: str, *, quick: bool) -> list[list[Gap]]:
    """What is claimed of one decoder, for each set of patients; each is told at once, since all take minutes."""
    found = []
    for seed in seeds:
        claimed = behaviour(
            lm, clinic_cohort(QUICK_NOTES if quick else N_NOTES, seed), ProtectedConfig(seed=seed)
        ).claims
        words = [
            f"{gap.attribute}={gap.value} {gap.truth} {gap.effect:+.2f} [{gap.low:.2f}, {gap.high:.2f}]"
            for gap in claimed
        ]
        print(f"{name}, seed {seed}: {'; '.join(words) or 'no claim'}", file=sys.stderr, flush=True)
        found.append(claimed)
    return found


def is_planted(gap: Gap) -> bool:
    """Whether a claim is the planted bias."""
    return (gap.attribute, gap.value, gap.truth) == ("insurance", PROTECTED_GROUP, SERIOUS_DIAGNOSIS) and gap.effect < 0


def drift_figures(*, quick: bool) -> dict[str, float]:
    """Alarms over splits of one pool of notes, and over new notes that differ."""
    lm = load(ModelConfig(name="clinic", path=model_folder()))
    saes = small_saes(lm)
    pool = list(generate(ClinicConfig(n_notes=QUICK_POOL if quick else POOL_NOTES, seed=POOL_SEED)))
    plain = pooled(lm, saes, [note.prompt for note in pool])
    lower = pooled(lm, saes, [note.prompt.lower() for note in pool[: len(pool) // 2]])
    n_splits = QUICK_SPLITS if quick else N_SPLITS
    clean = [alarm(*clean_split(pool, plain, seed), seed) for seed in range(n_splits)]
    kinds = {
        "mixture": lambda seed: mixture_split(pool, plain, seed),
        "style": lambda seed: style_split(pool, plain, lower, seed),
    }
    n_each = 2 if quick else N_SEEDS // 2
    shifted = {kind: [alarm(*make(seed), seed)[0] for seed in range(n_each)] for kind, make in kinds.items()}
    figures = {
        "drift_false_alarm": float(np.mean([one[0] for one in clean])),
        "drift_found": float(np.mean([one for some in shifted.values() for one in some])),
        "drift_n_splits": float(n_splits),
    }
    figures |= {f"drift_found_{kind}": float(np.mean(some)) for kind, some in shifted.items()}
    alone = np.asarray([one[1] for one in clean])
    return figures | {
        f"drift_false_alarm_{sign}_alone": float((alone[:, i] <= 0.05).mean()) for i, sign in enumerate(SIGNS)
    }


def small_saes(lm: LanguageModel) -> dict[HookPoint, SAE]:
    """A TopK autoencoder at each of two layers, trained on other patients' notes."""
    texts = [note.prompt for note in generate(ClinicConfig(n_notes=SAE_NOTES, seed=SAE_SEED))]
    points = [parse(name) for name in POINTS]
    rows: dict[HookPoint, list[torch.Tensor]] = {point: [] for point in points}
    for batch in padded([prompt_ids(lm, text) for text in texts], lm):
        values = passage.record(lm, points, batch.input_ids, batch.attention_mask)
        kept = batch.attention_mask.bool()
        kept[:, 0] = False  # BOS
        for point in points:
            rows[point].append(values[point][kept].clone())
    return {point: trained(torch.cat(some)) for point, some in rows.items()}


def trained(x: torch.Tensor) -> SAE:
    """A TopK autoencoder of some rows."""
    sae = build(TopKConfig(k=12, expansion_factor=4), x.shape[1])
    generator = torch.Generator().manual_seed(0)
    sae.initialise(x, generator, 1.0)
    optimiser = torch.optim.Adam(sae.parameters(), lr=2e-3)
    dead = torch.zeros(sae.d_sae, dtype=torch.bool)
    for _ in range(SAE_STEPS):
        optimiser.zero_grad()
        sae.losses(x[torch.randint(len(x), (BATCH,), generator=generator)], dead, 1.0).total.backward()
        optimiser.step()
        sae.constrain()
    return sae.eval().requires_grad_(False)


Split = tuple[dict[HookPoint, Pooled], list[str], int]
"""Features of all documents, their patients, and how many are the reference."""


def alarm(found: dict[HookPoint, Pooled], patients: list[str], n_reference: int, seed: int) -> tuple[bool, list[float]]:
    """Whether an audit of drift raises an alarm, and the p-values of its signs alone."""
    cfg = DriftConfig(seed=seed)
    docs: Documents = documents(found, cfg)
    result = drift(docs, patients, n_reference, cfg)
    return result.is_alarm, [result.signs[sign]["p"] for sign in SIGNS]


def clean_split(pool: Sequence[Note], plain: dict[HookPoint, Pooled], seed: int) -> Split:
    """Patients drawn at random for the reference and for the new notes."""
    old, new = drawn(pool, seed, REFERENCE, NEW)
    return joined([(plain, old), (plain, new)], pool, len(old))


def mixture_split(pool: Sequence[Note], plain: dict[HookPoint, Pooled], seed: int) -> Split:
    """New notes of which two fifths are of one diagnosis, as in an outbreak."""
    diagnosis = sorted({note.rule_diagnosis for note in pool})[seed % 16]
    old, rest = drawn(pool, seed, REFERENCE, POOL_NOTES)
    many = [row for row in rest if pool[row].rule_diagnosis == diagnosis][: NEW * 2 // 5]
    others = [row for row in rest if pool[row].rule_diagnosis != diagnosis][: len(many) * 3 // 2]
    return joined([(plain, old), (plain, [*many, *others])], pool, len(old))


def style_split(
    pool: Sequence[Note], plain: dict[HookPoint, Pooled], lower: dict[HookPoint, Pooled], seed: int
) -> Split:
    """New notes of which a fifth are written in small letters throughout."""
    old, rest = drawn(pool, seed, REFERENCE, POOL_NOTES)
    n_written = len(next(iter(lower.values())).n_tokens)
    changed = [row for row in rest if row < n_written][: NEW // 5]
    others = [row for row in rest if row not in set(changed)][: NEW - len(changed)]
    return joined([(plain, old), (plain, others), (lower, changed)], pool, len(old))


def drawn(pool: Sequence[Note], seed: int, n_old: int, n_new: int) -> tuple[list[int], list[int]]:
    """Rows of two sets of patients, in random order."""
    groups = sorted({note.group for note in pool})
    order = {group: place for place, group in enumerate(np.random.default_rng(seed).permutation(groups))}
    rows = sorted(range(len(pool)), key=lambda row: order[pool[row].group])
    last = next(i for i in range(n_old, len(rows)) if pool[rows[i]].group != pool[rows[i - 1]].group)
    stop = min(last + n_new, len(rows))
    return rows[:last], rows[last:stop]


def joined(parts: Sequence[tuple[dict[HookPoint, Pooled], list[int]]], pool: Sequence[Note], n_reference: int) -> Split:
    """Rows of several passes, one after another."""
    points = parts[0][0].keys()
    found = {
        point: Pooled(
            *(np.concatenate([getattr(source[point], name)[rows] for source, rows in parts]) for name in Pooled._fields)
        )
        for point in points
    }
    patients = [pool[row].group for _, rows in parts for row in rows]
    return found, patients, n_reference
