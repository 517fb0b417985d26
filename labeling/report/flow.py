"""How many judgements there are, and why some do not count for the headline: the figures of a flow diagram."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from labeling.judgement_table import HEADLINE_STRATUM, JudgementRow, JudgementTable, is_detection
from labeling.report.matrix import Grid

REASONS = {
    "codebook": "asked under another codebook version",
    "detection": "blind detection tasks, which have another question",
    "stratum": "calibration, gold, retest and escalated items, and items routed by what others said",
    "surplus": "given after the item had all its raters",
    "withdrawn": "taken back, and the item skipped",
    "seen": "given after a machine's explanation was shown",
    "revision": "replaced by the rater's next judgement, still blind",
}
"""Why a judgement is left out, in the order in which the reasons are looked for."""


def reason_out(row: JudgementRow, codebook_n: int) -> str:
    """Why a judgement that does not count for the headline does not.

    Args:
        row: The judgement.
        codebook_n: Number of the version reported on.
    """
    if row.codebook_n != codebook_n:
        return "codebook"
    if is_detection(row):
        return "detection"
    if row.stratum != HEADLINE_STRATUM or row.round_kind != "main":
        return "stratum"
    if row.is_surplus:
        return "surplus"
    if row.is_withdrawn:
        return "withdrawn"
    return "seen" if row.has_seen_explanation else "revision"


def flow(table: JudgementTable, codebook_n: int, places: Grid) -> dict[str, Any]:
    """Judgements in all, left out by reason, and counted.

    Args:
        table: All of them.
        codebook_n: Number of the version reported on.
        places: Those that count.
    """
    counted = places.rows
    ids = {row.judgement_id for row in counted}
    out = Counter(reason_out(row, codebook_n) for row in table.rows if row.judgement_id not in ids)
    return {
        "n_judgements": len(table.rows),
        "left_out": [{"reason": text, "n": out[name]} for name, text in REASONS.items() if out[name]],
        "n_counted": len(counted),
        "n_items": len(places.items),
        "n_features": len({(row.sae_sha256, row.feature) for row in counted}),
        "raters_per_item": spread(np.bincount(places.item)),
        "items_per_rater": spread(np.bincount(places.rater)),
        "strata": counts(table.rows, "stratum"),
        "skips": dict(sorted(Counter(skip.reason for skip in table.skips).items())),
        "first": str(places.submitted[0][0]) if counted else None,
        "last": str(places.submitted[0][-1]) if counted else None,
    }


def counts(rows: Sequence[JudgementRow], name: str) -> dict[str, int]:
    """How many judgements have each value of an attribute."""
    return dict(sorted(Counter(getattr(row, name) for row in rows).items()))


def spread(n: np.ndarray) -> dict[str, float] | None:
    """Smallest, median and largest count of [n]; none if there is none."""
    if not len(n):
        return None
    values = sorted(n.tolist())
    middle = len(values) // 2
    median = values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
    return {"min": values[0], "median": median, "max": values[-1]}


def panel(rows: Sequence[JudgementRow]) -> list[dict[str, Any]]:
    """The raters, by pseudonym, with what they did."""
    found: dict[str, list[JudgementRow]] = {}
    for row in rows:
        found.setdefault(row.pseudonym, []).append(row)
    return [
        {
            "rater": name,
            "institution": own[0].institution,
            "specialty": own[0].specialty,
            "seniority": own[0].seniority,
            "n_judgements": len(own),
            "median_active_s": seconds([row.active_ms for row in own]),
        }
        for name, own in sorted(found.items())
    ]


def seconds(milliseconds: Sequence[int]) -> float | None:
    """Median of times that were measured, in seconds."""
    known = sorted(one for one in milliseconds if one > 0)
    return round(known[len(known) // 2] / 1000, 1) if known else None
