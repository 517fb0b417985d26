"""When an item has been judged often enough, and what happens to one that stays in doubt."""

from typing import Literal, NamedTuple

from labeling.queue_policy import QueuePolicy

State = Literal["open", "settled", "escalate", "adjudicate"]


class Verdict(NamedTuple):
    """Where an item stands."""

    state: State
    """`open`: more judgements; `settled`: none; `escalate`: one more blind round; `adjudicate`: a senior's turn."""
    sentence: str


def verdict(n_judgements: int, posterior: float, n_extra_rounds: int, policy: QueuePolicy) -> Verdict:
    """The stop rule.

    Args:
        n_judgements: Of the item, all rounds together.
        posterior: Probability of its best answer.
        n_extra_rounds: Extra blind rounds it has been through or is in.
        policy: The settings.
    """
    limit = policy.max_judgements + n_extra_rounds * policy.extra_judgements
    said = f"{n_judgements} judgements, best answer {posterior:.2f}"
    if n_judgements >= policy.min_judgements and posterior >= policy.stop_posterior:
        return Verdict("settled", f"{said}: at least {policy.min_judgements} and {policy.stop_posterior:g}.")
    if n_judgements < limit:
        return Verdict("open", f"{said}: fewer than {limit} judgements and not settled.")
    if n_extra_rounds < policy.max_extra_rounds:
        return Verdict("escalate", f"{said}: {limit} judgements have not settled it; one more blind round.")
    return Verdict("adjudicate", f"{said}: {n_extra_rounds} extra blind round(s) have not settled it either.")
