"""A trace in words: a template filled with its own numbers, so that it says no more than was measured."""

from typing import Any

CAVEAT = (
    "An audit of one model on one corpus, not a clinical validation: a feature that tells this concept here may stand for "
    "something else elsewhere, and labels are hypotheses."
)


def sentence(record: dict[str, Any]) -> str:
    """What the record says, with its uncertainty."""
    concept, cohort, layers = record["concept"]["name"], record["cohort"], record["layers"]
    estimate = cohort["estimate"]
    with_it = counted(cohort["n_positive"], cohort["unit"])
    told = (
        f"{concept!r} was looked for in {with_it} with it and {cohort['n_negative']:,} without; "
        f"figures rest on {estimate['n_patients']:,} patients that chose nothing."
    )
    if record["emerges_at"] is None:
        best = max(layers, key=lambda one: figure(one)["auroc"] or 0)
        return (
            f"{told} No single feature of any of {len(layers)} layers exceeds what chance gives over the whole scan "
            f"(AUROC {record['null']['max_auroc_95']:.2f}); the best reaches {shown(figure(best))} at layer {best['layer']}."
        )
    first = next(one for one in layers if one["layer"] == record["emerges_at"])
    best = max((one for one in layers if one["is_above_null"]), key=lambda one: figure(one)["auroc"])
    words = next((one for one in best["detectors"] if one["kind"] == "bag_of_words"), None)
    parts = [
        told,
        f"A single feature tells it from layer {first['layer']} on ({shown(figure(first))}, chance reaches "
        f"{record['null']['max_auroc_95']:.2f}), best at layer {best['layer']} ({shown(figure(best))})"
        + (f"; the words alone reach {shown(words)}." if words else "."),
        matches(record),
        causes(record),
        seeds(record),
    ]
    return " ".join(part for part in parts if part)


def counted(n: int, unit: str) -> str:
    """A number of units."""
    return f"{n:,} {unit}{'' if n == 1 else 's'}"


def figure(layer: dict[str, Any]) -> dict[str, Any]:
    """The best single feature of a layer."""
    return next(one for one in layer["detectors"] if one["kind"] == "best_feature")


def shown(detector: dict[str, Any]) -> str:
    """An AUROC with its interval."""
    if detector["auroc_interval"] is None:
        return f"AUROC {detector['auroc']:.2f}"
    low, high = detector["auroc_interval"]
    return f"AUROC {detector['auroc']:.2f} [{low:.2f}, {high:.2f}]"


def matches(record: dict[str, Any]) -> str:
    """How features hang together."""
    if not record["edges"]:
        return ""
    n = sum(edge["n_kinds_above_null"] >= 2 for edge in record["edges"])
    return (
        f"Of {len(record['edges'])} pairs of features of neighbouring layers {n} are matched by two or three measures."
    )


def causes(record: dict[str, Any]) -> str:
    """What the answer loses."""
    found = (record["causality"] or {}).get("ablation", [])
    if not found:
        return ""
    n = sum(one["is_above_controls"] for one in found)
    strongest = max(found, key=lambda one: (one["is_above_controls"], abs(one["effect"])))
    unit = "nats of the answer's log-odds" if record["causality"]["answer"]["kind"] == "log_odds" else "nats (KL)"
    low, high = strongest["interval"]
    return (
        f"Without {n} of {len(found)} features the answer changes more than without random ones; the strongest, "
        f"{strongest['node']}, takes {strongest['effect']:.3g} [{low:.3g}, {high:.3g}] {unit}, 95 % of its controls at most "
        f"{strongest['control_95']:.3g}."
    )


def seeds(record: dict[str, Any]) -> str:
    """What another seed finds."""
    found = record["stability"]
    return f"Another seed has {found['n_matched']} of its {found['n_nodes']} features." if found else ""
