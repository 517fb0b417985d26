"""What a panel says of each item: all answers, three readings of them, and where the readings part.

1. *Votes*: the distribution of answers. Always kept, never replaced.
2. *MAP*: the posterior of the item's class, from raters with confusion matrices that borrow from each other. Several
   strengths of borrowing, from one coin to a full matrix each (`labeling.hierarchy`), are weighed by how well they
   foretell left-out answers (`labeling.held_out`).
3. *Weighted MAP*: the same, with raters' weights (`labeling.weights`) in the prior of their accuracy, so that a weight
   counts as much as some judgements and is outweighed by more of them.

An item is *ambiguous* where at least `min_judgements` leave the MAP reading's best answer below `ambiguous_below`. That
the readings name different winners for an item is no error to be hidden but a finding: `flips` lists those items.

Maximum likelihood (Dawid–Skene) takes no part; see `labeling.dawid_skene`.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from labeling.confusion import shares
from labeling.held_out import Choice, Predictive, choose
from labeling.hierarchy import Pooling, hierarchical
from labeling.one_coin import OneCoinPrior, even_errors, near_errors, one_coin
from labeling.ratings import Ratings
from labeling.votes import entropy, smoothed_share, vote_share, winner
from sae.config import Settings
from sae.errors import UserError

ONE_COIN = "one_coin"
LADDER: dict[str, Pooling] = {
    "panel": Pooling(30, 100),
    "confusions": Pooling(5, 30),
    "full": Pooling(10, 10),
}
"""From strong to weak borrowing. Values: benchmarks/consensus.py; see docs/consensus.md."""
MODELS = (ONE_COIN, *LADDER)
VOTES = "vote_share"
HELD_OUT_STEPS = 30
"""Steps of a fit that only foretells: more do not change which model is best."""
ROUNDS = 3
LEAST_SHARE = 1e-4
"""A model with less of the consensus is not fitted."""
CHANCE_MARGIN = 0.05
"""A rater's prior accuracy is kept so far from chance and from 1, whatever the weight."""


class ConsensusConfig(Settings, frozen=True):
    """How a panel's judgements become a consensus."""

    prior_accuracy: float = Field(
        default=0.7, gt=0, lt=1, description="Accuracy expected of a rater before the first judgement."
    )
    prior_judgements: PositiveFloat = Field(default=4.0, description="Judgements that this expectation is worth.")
    weight_judgements: PositiveFloat = Field(
        default=20.0, description="Judgements that the expectation is worth in the weighted reading."
    )
    class_items: PositiveFloat = Field(default=1.0, description="Items of each class, as if seen before the first one.")
    caution_judgements: NonNegativeFloat = Field(
        default=8.0,
        description="Posteriors are raised to the power m / (m + this), m being the mean number of judgements per rater.",
    )
    n_folds: int = Field(
        default=3, ge=2, description="Folds of judgements that are left out in turns to compare models."
    )
    n_restarts: NonNegativeInt = Field(default=2, description="Random starts beside the one from the vote shares.")
    max_steps: PositiveInt = Field(default=200, description="Steps of a fit, at most.")
    min_judgements: PositiveInt = Field(default=2, description="Judgements before an item can be called ambiguous.")
    ambiguous_below: float = Field(
        default=0.9, gt=0, le=1, description="An item is ambiguous while its best answer is less probable than this."
    )
    seed: NonNegativeInt = Field(default=0, description="Of folds and random starts.")


class Reading(NamedTuple):
    """One way to read the answers."""

    distribution: np.ndarray
    """[n_items, n_classes]: shares of votes, or posterior probabilities."""
    winner: np.ndarray
    """[n_items] rank of the likeliest answer, −1 where several tie or nobody judged."""
    entropy: np.ndarray
    """[n_items] in bits."""


class Flip(NamedTuple):
    """An item of which the readings name different winners."""

    item: int
    vote: int
    """Rank of the winner, −1 for a tie."""
    map: int
    weighted_map: int | None
    """None where no weights were given."""


class Consensus(NamedTuple):
    """All that is said of a panel's items."""

    counts: np.ndarray
    """[n_items, n_classes] answers, as given."""
    n_judgements: np.ndarray
    """[n_items]."""
    vote: Reading
    map: Reading
    weighted_map: Reading | None
    """None where no weights were given."""
    choice: Choice
    """Which models the MAP reading is made of, and why; the loss of smoothed vote shares is in `vote_log_loss`."""
    vote_log_loss: float
    """Mean log-loss with which shares of votes foretell a left-out answer."""
    confusion: np.ndarray
    """[n_raters, n_classes, n_classes] probability of an answer given the class, in the MAP reading."""
    classes: np.ndarray
    """[n_classes] how frequent each class is, in the MAP reading."""
    is_ambiguous: np.ndarray
    """[n_items] bool."""
    flips: tuple[Flip, ...]

    @property
    def accuracy(self) -> np.ndarray:
        """[n_raters] share of right answers expected of each rater."""
        return np.einsum("k,rkk->r", self.classes, self.confusion)


class Averaged(NamedTuple):
    """Models weighed together."""

    posterior: np.ndarray
    classes: np.ndarray
    confusion: np.ndarray


def consensus(
    ratings: Ratings, cfg: ConsensusConfig, weights: np.ndarray | None = None, is_ordinal: bool = False
) -> Consensus:
    """All readings of a panel's judgements.

    Args:
        ratings: The judgements of one field.
        cfg: The settings.
        weights: [n_raters] above 0, as `labeling.weights` gives them; none for no weighted reading.
        is_ordinal: The codebook's order has a meaning, so that errors are likelier near the truth.

    Raises:
        UserError: Weights that do not fit the panel.
    """
    prior = prior_of(ratings, cfg, is_ordinal)
    compared = choose(ratings, partial(foretelling, prior=prior), (*MODELS, VOTES), cfg.n_folds, cfg.seed)
    choice = without_votes(compared)
    found = averaged(ratings, prior, choice, cfg)
    n, vote = ratings.n_judgements(), reading(vote_share(ratings), ratings)
    plain, weighted = reading(found.posterior, ratings), None
    if weights is not None:
        prior = weighted_prior(prior, weights, ratings, cfg)
        weighted = reading(averaged(ratings, prior, choice, cfg).posterior, ratings)
    doubtful = (n >= cfg.min_judgements) & (plain.distribution.max(axis=1) < cfg.ambiguous_below)
    return Consensus(
        ratings.counts(), n, vote, plain, weighted, choice, compared.log_loss[-1], found.confusion, found.classes,
        doubtful, flips(vote, plain, weighted),
    )  # fmt: skip


def prior_of(ratings: Ratings, cfg: ConsensusConfig, is_ordinal: bool) -> OneCoinPrior:
    """What is believed of a panel before the first judgement."""
    accuracy = np.full(ratings.n_raters, cfg.prior_accuracy)
    errors = (near_errors if is_ordinal else even_errors)(ratings.n_classes)
    return OneCoinPrior(accuracy, cfg.prior_judgements, np.full(ratings.n_classes, cfg.class_items), errors)


def weighted_prior(prior: OneCoinPrior, weights: np.ndarray, ratings: Ratings, cfg: ConsensusConfig) -> OneCoinPrior:
    """The prior whose accuracies stand as far above chance as the weights say, the panel's mean staying where it is."""
    given = np.asarray(weights, float)
    if given.shape != (ratings.n_raters,) or not np.isfinite(given).all() or (given <= 0).any():
        raise UserError(
            f"The weights have shape {given.shape} and a smallest value of {given.min() if given.size else None}, expected "
            f"{ratings.n_raters} positive numbers. Pass one per rater of the panel."
        )
    chance = 1 / ratings.n_classes
    accuracy = chance + (cfg.prior_accuracy - chance) * given / given.mean()
    kept = np.clip(accuracy, min(chance + CHANCE_MARGIN, cfg.prior_accuracy), 1 - CHANCE_MARGIN)
    return prior._replace(accuracy=kept, n_judgements=cfg.weight_judgements)


def foretelling(ratings: Ratings, prior: OneCoinPrior) -> dict[str, Predictive]:
    """All models and the smoothed votes, fitted quickly, to be compared."""
    coin = one_coin(ratings, prior, [vote_share(ratings)], HELD_OUT_STEPS)
    found = {ONE_COIN: Predictive(coin.fit.posterior, coin.fit.confusion)}
    for name, pooling in LADDER.items():
        one = hierarchical(ratings, coin, prior, pooling, rounds=2, max_steps=HELD_OUT_STEPS)
        found[name] = Predictive(one.posterior, one.fit.confusion)
    same = np.broadcast_to(np.eye(ratings.n_classes), (ratings.n_raters, ratings.n_classes, ratings.n_classes))
    return found | {VOTES: Predictive(smoothed_share(ratings, 1.0), same)}


def without_votes(compared: Choice) -> Choice:
    """The models among themselves: shares of votes foretell answers, and do not judge them."""
    share = np.asarray(compared.share[:-1])
    least = min(compared.log_loss[:-1])
    if share.sum() == 0:  # the votes foretold so much better that no share is left
        share = np.exp(compared.n_judgements * (least - np.asarray(compared.log_loss[:-1])))
    return Choice(
        compared.names[:-1], compared.log_loss[:-1], tuple(map(float, share / share.sum())), compared.n_judgements
    )


def averaged(ratings: Ratings, prior: OneCoinPrior, choice: Choice, cfg: ConsensusConfig) -> Averaged:
    """The models fitted to all judgements, weighed by their shares."""
    share = dict(zip(choice.names, choice.share, strict=True))
    starts = random_starts(ratings, cfg)
    coin = one_coin(ratings, prior, [vote_share(ratings), *starts], cfg.max_steps)
    parts = [(share[ONE_COIN], coin.fit.posterior, coin.fit)]
    for name, pooling in LADDER.items():
        if share[name] >= LEAST_SHARE:
            one = hierarchical(ratings, coin, prior, pooling, ROUNDS, cfg.max_steps, starts)
            parts.append((share[name], one.posterior, one.fit))
    total = sum(weight for weight, _, _ in parts)
    posterior = sum(weight / total * posterior for weight, posterior, _ in parts)
    classes = sum(weight / total * fit.classes for weight, _, fit in parts)
    confusion = sum(weight / total * fit.confusion for weight, _, fit in parts)
    return Averaged(cautious(np.asarray(posterior), ratings, cfg), np.asarray(classes), np.asarray(confusion))


def cautious(posterior: np.ndarray, ratings: Ratings, cfg: ConsensusConfig) -> np.ndarray:
    """Posteriors raised to the power m / (m + caution), m judgements per active rater: winners stay, sureness waits."""
    active = max(int((ratings.n_by_rater() > 0).sum()), 1)
    mean = len(ratings) / active
    return shares(posterior ** (mean / (mean + cfg.caution_judgements)) if mean else posterior)


def random_starts(ratings: Ratings, cfg: ConsensusConfig) -> list[np.ndarray]:
    """Vote shares that some votes more have been thrown into at random."""
    rng = np.random.default_rng(cfg.seed)
    counts = ratings.counts()
    return [shares(counts + rng.exponential(1.0, counts.shape)) for _ in range(cfg.n_restarts)]


def reading(distribution: np.ndarray, ratings: Ratings) -> Reading:
    """A distribution with its winners; an item that nobody judged has none."""
    won = np.where(ratings.n_judgements() > 0, winner(distribution), -1)
    return Reading(distribution, won, entropy(distribution))


def flips(vote: Reading, plain: Reading, weighted: Reading | None) -> tuple[Flip, ...]:
    """Items whose winner is not the same in all readings."""
    readings = [one.winner for one in (vote, plain, weighted) if one is not None]
    differs = np.any([won != readings[0] for won in readings[1:]], axis=0)
    return tuple(
        Flip(int(i), int(vote.winner[i]), int(plain.winner[i]), None if weighted is None else int(weighted.winner[i]))
        for i in np.flatnonzero(differs)
    )
