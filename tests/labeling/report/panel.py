"""A panel of simulated raters, as a table of judgements: what the report's tests and its benchmark judge by."""

from datetime import UTC, datetime, timedelta

import numpy as np

from labeling.codebook import Codebook
from labeling.identifiers import sha256, timestamp
from labeling.judgement_table import Adjudication, FeatureRef, Gold, JudgementRow, JudgementTable, Skip

BEGIN = datetime(2026, 9, 1, 8, tzinfo=UTC)
CATEGORIES = ("diagnosis", "symptom", "medication", "laboratory", "procedure", "other")
LEVELS = ("1", "2", "3", "4", "5")


def codebook() -> Codebook:
    """One field of every kind."""

    def choices(names):
        return [{"code": name if name[0].isalpha() else f"level_{name}", "name": name.capitalize()} for name in names]

    terms = [
        {"code": "heart", "name": "Heart disease"},
        {"code": "mi", "name": "Myocardial infarction", "parent": "heart"},
        {"code": "ua", "name": "Unstable angina", "parent": "heart"},
        {"code": "lung", "name": "Lung disease"},
        {"code": "copd", "name": "COPD", "parent": "lung"},
    ]
    return Codebook.model_validate(
        {
            "title": "Naming features",
            "rubric": "Read all contexts first.",
            "primary": "category",
            "questions": [
                {
                    "key": "category",
                    "kind": "choice",
                    "name": "Category",
                    "categories": choices(CATEGORIES),
                    "can_abstain": True,
                },
                {
                    "key": "interpretability",
                    "kind": "scale",
                    "name": "Interpretability",
                    "categories": choices(LEVELS),
                    "is_interval": True,
                },
                {"key": "confidence", "kind": "scale", "name": "Confidence", "categories": choices(LEVELS)},
                {"key": "concept", "kind": "concepts", "name": "Concept"},
                {"key": "label", "kind": "text", "name": "Label", "is_required": False},
                {"key": "rationale", "kind": "rationale", "name": "Rationale"},
            ],
            "vocabulary": {"name": "Test concepts", "terms": terms},
        }
    )


def table(n_items: int = 60, n_raters: int = 6, seed: int = 1, share: float = 1.0) -> JudgementTable:
    """Judgements of two institutions, with retests, gold, an adjudicated item, a revision and a surplus judgement.

    Args:
        n_items: Of the fixed stratum; a fifth as many gold items come beside them.
        n_raters: Who judge all of them.
        seed: Of the draws.
        share: Of the items that a rater judges.
    """
    rng = np.random.default_rng(seed)
    rows: list[JudgementRow] = []
    n_gold = max(n_items // 5, 2)
    truths = rng.integers(0, len(CATEGORIES), n_items + n_gold)
    skill = np.linspace(0.6, 0.9, n_raters)
    book = codebook()
    for place in range(n_items + n_gold):
        is_gold = place >= n_items
        for rater in range(n_raters):
            if rng.random() > share:
                continue
            rows.append(
                judgement(
                    rng, place, rater, int(truths[place]), float(skill[rater]), "gold" if is_gold else "irr_fixed"
                )
            )
    firsts = [row for row in rows if row.stratum == "irr_fixed"]
    for row in firsts[: 4 * n_raters]:
        again = judgement(
            rng, int(row.item_id[1:]), int(row.pseudonym[2:]), int(truths[int(row.item_id[1:])]), 0.8, "retest", days=21
        )
        rows.append(again)
    for row in firsts[::9]:
        answers = {**row.answers, "category": "other"}
        rows.append(changed(row, "revised", answers, revision=2, has_seen_explanation=True))
    rows.append(changed(firsts[1], "late", firsts[1].answers, is_surplus=True, pseudonym="R-99", rater_id="u99"))
    rows.sort(key=lambda row: (row.item_id, row.pseudonym, row.revision))
    golds = tuple(Gold(f"i{n_items + n:05}", {"category": CATEGORIES[truths[n_items + n]]}) for n in range(n_gold))
    return JudgementTable(
        project="Names of <features> & more",
        rows=tuple(rows),
        codebooks={1: book},
        adjudications=(Adjudication("i00000", "decided", {"category": "diagnosis"}, "edge_case"),),
        golds=golds,
        skips=(Skip("i00001", "R-00", "outside_expertise"),),
        seed=7,
        context_tokens={f"{place:064}": (8, 8) for place in range(n_items + n_gold)},
        closed_rounds=frozenset({1}),
    )


def judgement(rng, place: int, rater: int, truth: int, skill: float, stratum: str, days: float = 0) -> JudgementRow:
    """What one rater says of one item."""
    is_right = rng.random() < skill
    category = CATEGORIES[truth if is_right else rng.integers(0, len(CATEGORIES))]
    if rng.random() < 0.04:
        category = "cannot_judge"
    level = f"level_{min(max(int(rng.normal(1 + truth % 5, 0.8)), 1), 5)}"
    confidence = f"level_{int(rng.integers(3, 6)) if is_right else int(rng.integers(1, 5))}"
    codes = [["mi"], ["ua"], ["mi", "ua"], ["copd"], ["copd", "lung"], []][
        truth if is_right else int(rng.integers(0, 6))
    ]
    start = 2 if is_right else int(rng.integers(0, 5))
    answers = {
        "category": category,
        "interpretability": level,
        "confidence": confidence,
        "concept": {"codes": sorted(codes), "words": "heart" if truth < 3 else "Lung."},
        "label": "a label" if is_right else f"label {rater}",
        "rationale": {
            "text": "Because it fires on these words.",
            "spans": [{"context": 0, "start": start, "end": start + 3}],
        },
    }
    moment = BEGIN + timedelta(days=days + place / 3, minutes=7 * rater)
    again = stratum == "retest"
    item = f"i{place:05}"
    return JudgementRow(
        judgement_id=f"j-{item}-{rater}-{stratum}",
        item_id=f"r{place:05}-{rater}" if again else item,
        feature=FeatureRef("blocks.2.hook_resid_post", "topk-8x-k16", place),
        stratum=stratum,
        round_n=1,
        round_kind="main",
        codebook_n=1,
        rater_id=f"u{rater:02}",
        pseudonym=f"R-{rater:02}",
        institution=("North", "South")[rater % 2],
        specialty=("cardiology", "internal medicine", "emergency medicine")[rater % 3],
        seniority=("senior", "resident")[rater // 2 % 2],
        answers=answers,
        submitted_at=timestamp(moment),
        active_ms=20_000 + 100 * place,
        wall_ms=30_000,
        retest_of=item if again else None,
        snapshot_sha256=f"{place:064}",
        sae_sha256="a" * 64,
        body_sha256=sha256(answers),
    )


def changed(row: JudgementRow, name: str, answers: dict, **others) -> JudgementRow:
    """A judgement with another id, answers and whatever else."""
    from dataclasses import replace

    return replace(
        row, judgement_id=f"{row.judgement_id}-{name}", answers=answers, body_sha256=sha256(answers), **others
    )
