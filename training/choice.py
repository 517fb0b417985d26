"""Which of the SAEs at one hook point to take, by their held-out figures alone.

1. Left out are those that reconstruct no better than the mean, and those with too many dead features.
2. What an SAE keeps is its CE loss score where all have one, else its explained variance.
3. Active features have a price: its *worth* is what it keeps − price × log2(L0). On a plot with L0 on a log axis that is
   a straight line, moved upwards until it leaves the front: it leaves at the knee, where one more doubling of L0 buys
   less than the price.
4. The largest worth wins. Those within the tolerance of it cannot be told apart: of them the sparsest is taken, then
   the one with fewest features.

So whatever is as sparse, as faithful and as small in all three, and better in one, is preferred; the order of the
candidates plays no part; and one more candidate that another one beats changes nothing. How much rests on the price is
told beside the choice: the range of prices around the configured one that choose the same SAE (`training/prices.py`).

Source: knees as the optima of linear utilities, Branke et al. 2004, "Finding knees in multi-objective optimization"
(PPSN VIII).
# Differs from knees by the distance from the chord (Satopaa et al. 2011, "Finding a 'kneedle' in a haystack"): the chord
# joins the ends of the front, so that one SAE more at an end would move the choice in the middle, and two SAEs of nearly
# the same L0 would have no knee.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from pydantic import Field, NonNegativeFloat

from sae.config import Settings
from training.prices import Line, Tolerance, price_range

REPEATABILITY = 2.8
"""Standard deviations of one result by which two may differ by chance: 1.96 × √2. Source: ISO 5725-6:1994, 4.1.4."""
N_RIVALS = 3
Measure = Literal["ce_loss_score", "explained_variance"]
NAMES: dict[Measure, str] = {"ce_loss_score": "CE loss score", "explained_variance": "explained variance"}


class ChoiceConfig(Settings, frozen=True):
    """Which SAE is recommended at each hook point."""

    max_dead_fraction: float = Field(
        default=0.5, ge=0, le=1, description="An SAE with a larger share of dead features is not recommended."
    )
    price: NonNegativeFloat = Field(
        default=0.02, description="How much more must be kept to justify twice as many active features per token."
    )
    tolerance: NonNegativeFloat = Field(
        default=0.005,
        description="Differences of worth up to this decide nothing; where seeds vary, 2.8 of their standard deviations.",
    )


class Candidate(NamedTuple):
    """An SAE and its figures on held-out documents."""

    sae_id: str
    architecture: str
    settings: str
    """The same for SAEs that differ in their seed alone."""
    seed: int
    d_in: int
    d_sae: int
    l0: float
    explained_variance: float
    dead_fraction: float
    ce_loss_score: float | None = None
    """None where no next token is predicted."""
    kl: float | None = None
    n_recovered: int | None = None
    """Concepts that a feature stands for; none where the corpus has no spans."""
    n_concepts: int | None = None
    n_tokens: int | None = None
    """Tokens of training."""

    def kept(self, measure: Measure) -> float:
        """What counts, larger is better."""
        value = self.ce_loss_score if measure == "ce_loss_score" else self.explained_variance
        return -math.inf if value is None else value

    def worth(self, measure: Measure, price: float) -> float:
        """What it keeps, less the price of its active features."""
        return self.kept(measure) - price * math.log2(self.l0) if self.l0 > 0 else -math.inf


class Rival(NamedTuple):
    """An SAE that was not taken, and how near it came."""

    candidate: Candidate
    worth: float
    is_indistinguishable: bool
    """Within the tolerance of the largest worth."""


class LeftOut(NamedTuple):
    """An SAE that takes no part."""

    candidate: Candidate
    reason: str


class Choice(NamedTuple):
    """The SAE to take at one hook point."""

    measure: Measure
    price: float
    recommended: Candidate | None
    """None where all were left out."""
    rivals: tuple[Rival, ...]
    """The others that took part and have other settings, largest worth first."""
    front: tuple[Candidate, ...]
    """Those that none beats in sparsity and in what is kept, sparsest first."""
    left_out: tuple[LeftOut, ...]
    tolerance: float
    """Differences of worth that decide nothing."""
    n_repeated: int
    """SAEs whose settings were trained with several seeds, which the tolerance is then from; 0 if it is the config's."""
    price_range: tuple[float, float] | None
    """Any price between them recommends the same SAE, all else equal; none where all were left out."""


class Verdict(NamedTuple):
    """What one price comes to."""

    taken: Candidate
    near: tuple[Candidate, ...]
    """Those that the tolerance lets stand for the largest worth, the taken one among them."""
    tolerance: float


def choose(candidates: Sequence[Candidate], cfg: ChoiceConfig) -> Choice:
    """Chooses among the SAEs of one hook point; the module says how.

    Args:
        candidates: All of them, in any order, with figures from the same held-out documents or from draws of the same.
        cfg: What is tolerated.
    """
    verdicts = [(one, fault(one, cfg)) for one in sorted(candidates, key=lambda one: one.sae_id)]
    left_out = tuple(LeftOut(one, reason) for one, reason in verdicts if reason is not None)
    able = [one for one, reason in verdicts if reason is None]
    has_scores = bool(able) and all(one.ce_loss_score is not None for one in able)
    measure: Measure = "ce_loss_score" if has_scores else "explained_variance"

    if not able:
        return Choice(measure, cfg.price, None, (), (), left_out, cfg.tolerance, 0, None)

    def worth(one: Candidate) -> float:
        return one.worth(measure, cfg.price)

    taken, near, tolerance = verdict(able, measure, cfg.price, cfg.tolerance)
    others = sorted((one for one in able if one.settings != taken.settings), key=lambda one: (-worth(one), one.sae_id))
    return Choice(
        measure,
        cfg.price,
        taken,
        tuple(Rival(one, worth(one), one in near) for one in others),
        pareto_front(able, measure),
        left_out,
        tolerance,
        seed_spread(able, worth)[1],
        same_choice(able, measure, cfg, taken),
    )


def verdict(able: Sequence[Candidate], measure: Measure, price: float, tolerance: float) -> Verdict:
    """Who is taken at a price; the tolerance stands where no seeds vary."""
    worths = [one.worth(measure, price) for one in able]
    spread, _ = seed_spread(able, lambda one: one.worth(measure, price))
    allowed = tolerance if spread is None else REPEATABILITY * spread
    best = max(worths)
    near = tuple(one for one, worth in zip(able, worths, strict=True) if best - worth <= allowed)
    return Verdict(min(near, key=lambda one: preference(one, measure)), near, allowed)


def preference(one: Candidate, measure: Measure) -> tuple[float, int, float, str]:
    """The order in which those within the tolerance are taken."""
    return one.l0, one.d_sae, -one.kept(measure), one.sae_id


def same_choice(
    able: Sequence[Candidate], measure: Measure, cfg: ChoiceConfig, taken: Candidate
) -> tuple[float, float]:
    """The prices around the configured one at which the same SAE is taken.

    It is taken while it stands within the tolerance of the largest worth, and none does that goes before it. The
    largest worth is on the front whatever the price, so that other pairs need no look.
    """
    tolerance = squared_tolerance(able, measure, cfg.tolerance)
    deciding = [line(one, measure) for one in able if preference(one, measure) <= preference(taken, measure)]
    front = [line(one, measure) for one in pareto_front(able, measure)]
    crossings = [price for one in deciding for other in front for price in tolerance.crossings(one, other)]
    return price_range(cfg.price, crossings, lambda price: verdict(able, measure, price, cfg.tolerance).taken == taken)


def line(one: Candidate, measure: Measure) -> Line:
    """Its worth over the price."""
    return Line(one.kept(measure), math.log2(one.l0))


def squared_tolerance(able: Sequence[Candidate], measure: Measure, tolerance: float) -> Tolerance:
    """The tolerance over the price: the config's, or from seeds, whose worths spread differently at each price."""
    kept, _ = seed_spread(able, lambda one: one.kept(measure))
    doublings, _ = seed_spread(able, lambda one: math.log2(one.l0))
    both, _ = seed_spread(able, lambda one: one.worth(measure, 1.0))
    if kept is None or doublings is None or both is None:
        return Tolerance(tolerance**2)
    mixed = (kept**2 + doublings**2 - both**2) / 2  # their covariance, since the variance of kept − doublings is known
    return Tolerance(*(REPEATABILITY**2 * part for part in (kept**2, mixed, doublings**2)))


def fault(one: Candidate, cfg: ChoiceConfig) -> str | None:
    """Why an SAE takes no part; none if it does."""
    if not all(map(math.isfinite, (one.l0, one.explained_variance, one.dead_fraction, one.ce_loss_score or 0.0))):
        return "a figure is no finite number"
    if one.l0 <= 0:
        return "none of its features ever fires"
    if one.explained_variance <= 0:
        return f"it reconstructs no better than the mean (explained variance {one.explained_variance:.3f})"
    if one.dead_fraction > cfg.max_dead_fraction:
        return f"{100 * one.dead_fraction:.0f} % of its features are dead"
    return None


def pareto_front(candidates: Sequence[Candidate], measure: Measure) -> tuple[Candidate, ...]:
    """Those that no other is at least as sparse as and keeps more than, or the reverse; sparsest first."""
    found: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.l0, -one.kept(measure), one.d_sae, one.sae_id)):
        if not found or one.kept(measure) > found[-1].kept(measure):
            found.append(one)
    return tuple(found)


def dominates(one: Candidate, other: Candidate, measure: Measure) -> bool:
    """Whether one is as sparse, keeps as much and is as small, and is better in one of the three."""
    mine, theirs = ((some.l0, -some.kept(measure), some.d_sae) for some in (one, other))
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def seed_spread(candidates: Sequence[Candidate], value: Callable[[Candidate], float]) -> tuple[float | None, int]:
    """Standard deviation between seeds of the same settings, pooled, and of how many SAEs; none where seeds do not vary."""
    groups: dict[str, list[float]] = {}
    for one in candidates:
        groups.setdefault(one.settings, []).append(value(one))
    repeated = [values for values in groups.values() if len(values) > 1]
    if not repeated:
        return None, 0
    squares = sum((v - sum(values) / len(values)) ** 2 for values in repeated for v in values)
    freedom = sum(len(values) - 1 for values in repeated)
    return math.sqrt(squares / freedom), sum(map(len, repeated))


def paragraph(choice: Choice) -> str:
    """The reasons in plain English, with figures."""
    taken = choice.recommended
    if taken is None:
        return f"No SAE can be recommended here. {left_out_words(choice.left_out)}".strip()
    name = NAMES[choice.measure]
    also = (
        ""
        if choice.measure == "explained_variance"
        else f" and an explained variance of {taken.explained_variance:.3f}"
    )
    sentences = [
        f"Take {taken.sae_id}: with {taken.l0:.1f} active features per token it keeps {article(name)} {name} of "
        f"{taken.kept(choice.measure):.3f}{also}, with {100 * taken.dead_fraction:.1f} % of its {taken.d_sae:,} features dead.",
        why(choice, taken),
        *rival_words(choice, taken),
        *ends(choice, taken),
        *concept_words(choice, taken),
        left_out_words(choice.left_out),
    ]
    return " ".join(filter(None, sentences))


def article(name: str) -> str:
    """The article before the name of a measure."""
    return "an" if name[0] in "aeiou" else "a"


def why(choice: Choice, taken: Candidate) -> str:
    """Where it stands among all, and how much of that rests on the price."""
    if not choice.rivals:
        return "There is no other to choose from."
    name = NAMES[choice.measure]
    n = 1 + len({rival.candidate.settings for rival in choice.rivals})
    all_of_them = f"{n} settings, some with several seeds," if choice.n_repeated else f"{n} SAEs"
    price = f"where twice as many active features must pay for themselves with {choice.price:g} of {name}"
    nearest = choice.rivals[0].worth
    is_first = taken.worth(choice.measure, choice.price) >= nearest
    return f"Of {all_of_them} it is {'worth most' if is_first else 'among those worth most'} {price}; {same_words(choice)}."


def same_words(choice: Choice) -> str:
    """Which other prices would have chosen the same SAE."""
    low, high = choice.price_range or (choice.price, choice.price)
    if math.isinf(high):
        return f"any price above about {low:.3g} chooses the same" if low else "any other price chooses the same"
    return f"any price {f'between about {low:.3g} and' if low else 'below about'} {high:.3g} chooses the same"


def rival_words(choice: Choice, taken: Candidate) -> list[str]:
    """What came next, and whether that can be told apart."""
    near = [rival for rival in choice.rivals if rival.is_indistinguishable]
    limit = (
        f"{choice.tolerance:.3f} (what {choice.n_repeated} SAEs of repeated settings differ by from seed to seed)"
        if choice.n_repeated
        else f"the tolerance of {choice.tolerance:g} (no seeds were varied)"
    )
    if near:
        shown = ", ".join(described(rival.candidate, choice.measure) for rival in near[:N_RIVALS])
        more = f" and {len(near) - N_RIVALS} more" if len(near) > N_RIVALS else ""
        verb = "is" if len(near) == 1 else "are"
        return [
            f"Indistinguishable from it {verb} {shown}{more}, worth the same within {limit}; the sparsest was taken, then "
            "the smallest."
        ]
    if not choice.rivals:
        return []
    second = choice.rivals[0]
    behind = taken.worth(choice.measure, choice.price) - second.worth
    return [f"Next comes {described(second.candidate, choice.measure)}, worth {behind:.3f} less, more than {limit}."]


def ends(choice: Choice, taken: Candidate) -> list[str]:
    """Whom to take for sparsity or for fidelity alone."""
    if len(choice.front) < 2:
        return []
    first, last = choice.front[0], choice.front[-1]
    found = []
    if last.sae_id != taken.sae_id and last.kept(choice.measure) > taken.kept(choice.measure):
        found.append(f"for fidelity above all, {described(last, choice.measure)}")
    if first.sae_id != taken.sae_id and first.l0 < taken.l0:
        found.append(f"for the fewest active features, {described(first, choice.measure)}")
    return [sentence_of(found)] if found else []


def sentence_of(parts: list[str]) -> str:
    """Parts as one sentence."""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def concept_words(choice: Choice, taken: Candidate) -> list[str]:
    """Concept recovery, which is told but decides nothing."""
    if taken.n_recovered is None or not taken.n_concepts:
        return []
    best = max(
        (rival.candidate for rival in choice.rivals), key=lambda one: one.n_recovered or 0, default=taken
    )  # rivals are in order of worth, so of equals the first
    found = f"It recovers {taken.n_recovered} of {taken.n_concepts} annotated concepts"
    if (best.n_recovered or 0) > taken.n_recovered:
        return [f"{found}; most, {best.n_recovered}, does {best.sae_id}."]
    return [f"{found}, as many as any here." if choice.rivals else f"{found}."]


def left_out_words(left_out: Sequence[LeftOut]) -> str:
    """Who took no part, and why."""
    if not left_out:
        return ""
    shown = "; ".join(f"{one.candidate.sae_id} ({one.reason})" for one in left_out[:N_RIVALS])
    more = f"; and {len(left_out) - N_RIVALS} more" if len(left_out) > N_RIVALS else ""
    return f"Left out: {shown}{more}."


def described(one: Candidate, measure: Measure) -> str:
    """Name and the two figures that count."""
    return f"{one.sae_id} ({one.kept(measure):.3f} at L0 {one.l0:.1f})"
