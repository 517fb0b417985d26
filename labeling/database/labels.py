"""From judgements of one feature to what is shown of it elsewhere: a distribution, words, concepts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from labeling.codebook import CANNOT_JUDGE, Codebook
from labeling.database.judgements import FeatureLabel, JudgementRow
from labeling.database.standing import entropy_of


def label_of(
    rows: Sequence[JudgementRow],
    codebook: Codebook,
    decision: tuple[str, dict[str, Any]] | None,
    computed: dict[str, float] | None,
) -> FeatureLabel:
    """What raters said of a feature.

    Args:
        rows: Their last judgements under one codebook.
        codebook: It.
        decision: A senior's, where there is one: (disposition, answers).
        computed: The consensus, where it was computed.
    """
    said = Counter(row.answers.get(codebook.primary, CANNOT_JUDGE) for row in rows)
    distribution = {code: n / len(rows) for code, n in sorted(said.items())}
    decided = decision[1].get(codebook.primary) if decision else None
    said_of_all = computed or {code: p for code, p in distribution.items() if code != CANNOT_JUDGE}
    is_open = decision is not None and decision[0] != "decided"
    winner = None if is_open else decided or winner_of(said_of_all)
    names = {category.code: category.name for category in codebook.question(codebook.primary).categories}
    concepts = [question.key for question in codebook.questions if question.kind == "concepts"]
    answers = [row.answers[key] for row in rows for key in concepts if key in row.answers]
    words = Counter(answer["words"] for answer in answers if answer["words"])
    codes = Counter(code for answer in answers for code in answer["codes"])
    return FeatureLabel(
        n_raters=len({row.rater_id for row in rows}),
        primary=codebook.primary,
        distribution=distribution,
        entropy=entropy_of(distribution),
        winner=winner,
        winner_name=names.get(winner or "", ""),
        words=tuple(word for word, _ in words.most_common()),
        concepts=dict(codes.most_common()),
        state=rows[-1].item_state,
        disposition=decision[0] if decision else None,
        consensus=computed,
    )


def winner_of(distribution: dict[str, float]) -> str | None:
    """The likeliest category; none on a tie, or of nothing."""
    ranked = sorted(distribution.items(), key=lambda pair: -pair[1])
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]
