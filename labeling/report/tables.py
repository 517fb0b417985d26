"""Tables of the page, made of the report's figures: texts ready to be shown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Figures = Mapping[str, Any]
NOTHING = "–"
"""Stands where there is no figure."""
UNRELIABLE = "interval unreliable"
COEFFICIENTS = {
    "alpha": "Krippendorff’s α",
    "ac1": "Gwet’s AC1",
    "ac2": "Gwet’s AC2",
    "fleiss_pi": "Fleiss’ π (Gwet’s form)",
    "conger_kappa": "Conger’s κ",
    "cohen_kappa": "Cohen’s κ",
    "brennan_prediger": "Brennan–Prediger",
    "percent_agreement": "Pairwise agreement",
    "percent_exact": "Exactly the same set",
    "mean_jaccard": "Mean Jaccard similarity",
    "positive_agreement": "Positive agreement (F1)",
    "icc_a1": "ICC(A,1), one rater",
    "icc_ak": "ICC(A,k), mean of all raters",
    "weighted_kappa": "Weighted κ, quadratic weights",
    "kappa": "Cohen’s κ",
}
"""Names by the longest beginning of a key."""
SUFFIXES = {
    "nominal": "nominal", "ordinal": "ordinal", "interval": "interval", "ratio": "ratio", "masi": "MASI distance",
    "jaccard": "Jaccard distance", "exact": "same or not", "micro": "all labels pooled", "macro": "mean over labels",
    "linear": "linear weights", "quadratic": "quadratic weights", "gwet_ordinal_weights": "Gwet’s “ordinal” weights",
    "parents": "at the parents’ level",
}  # fmt: skip


class Column(NamedTuple):
    """A column's head."""

    name: str
    meaning: str = ""
    """A few words below the name."""
    is_number: bool = True


class Table(NamedTuple):
    """A table; its first column heads the rows."""

    caption: str
    columns: list[Column]
    rows: list[list[str]]
    n_cut: int = 0
    """Rows that the JSON has and the page has not."""


ESTIMATE = [
    Column("Value"),
    Column("95 % interval"),
    Column("Items", "with two ratings"),
    Column("Remark", "", False),
]


def coefficient_name(key: str) -> str:
    """A coefficient's name for people."""
    start = max((name for name in COEFFICIENTS if key.startswith(name)), key=len, default="")
    if not start:
        return key
    rest = key[len(start) :].strip("_")
    words = []
    while rest:
        found = max((name for name in SUFFIXES if rest.startswith(name)), key=len, default=rest)
        words.append(SUFFIXES.get(found, found))
        rest = rest[len(found) :].strip("_")
    return COEFFICIENTS[start] + (f", {', '.join(words)}" if words else "")


def in_words(sentence: str) -> str:
    """A sentence with its coefficients under the names that people know, and minus signs."""
    sentence = re.sub(r"\b[a-z]+[0-9a-z]*_[a-z_]+\b|\bac[12]\b", lambda found: coefficient_name(found[0]), sentence)
    return re.sub(r"(?<=\s)-(?=\d)", "−", sentence)


def value(one: Figures | None, digits: int = 3) -> str:
    """A figure, or the sign for none."""
    return NOTHING if one is None or one["value"] is None else minus(f"{one['value']:.{digits}f}")


def minus(text: str) -> str:
    """A number with a proper minus, and without one before zero."""
    if text.startswith("-") and not text.strip("-0."):
        text = text[1:]
    return text.replace("-", "−")


def interval(one: Figures | None, digits: int = 3) -> str:
    """Both ends of its interval."""
    if one is None or one["low"] is None:
        return NOTHING
    return minus(f"{one['low']:.{digits}f}") + " to " + minus(f"{one['high']:.{digits}f}")


def remark(one: Figures) -> str:
    """Why there is no figure, or why not to rely on the interval."""
    if one["value"] is None:
        return f"undefined: {one['reason']}"
    other = f"interval: {one['method']}" if one["method"].startswith(("percentiles", "exact")) else ""
    if not one["is_reliable"] and one["warning"]:
        warning = one["warning"].replace("Interval unreliable:", f"{UNRELIABLE}:")
        return f"{warning} {other}".strip()
    return one["reason"] or other


def estimate(one: Figures) -> list[str]:
    """A figure's cells."""
    return [value(one), interval(one), f"{one['n_items']:,}", remark(one)]


def whole(one: Figures | None) -> str:
    """A figure with its interval in one cell."""
    if one is None or one["value"] is None:
        return NOTHING
    mark = "" if one["is_reliable"] else " *"
    return value(one, 2) + (f" [{interval(one, 2)}]" if one["low"] is not None else "") + mark


def summary_table(report: Figures) -> Table:
    """Every field in one line."""
    columns = [
        Column("Field", is_number=False),
        Column("Krippendorff’s α", "of the field’s level"),
        Column("95 % interval"),
        Column("AC1 / AC2", "quadratic weights where ordered"),
        Column("Pairwise agreement"),
        Column("Items"),
        Column("Raters"),
        Column("Remark", is_number=False),
    ]
    return Table(
        "Headline: the random sample with a fixed number of raters",
        columns,
        [summary_row(one) for one in report["fields"]],
    )


def summary_row(field: Figures) -> list[str]:
    """One field's line."""
    name = field["name"] + (" (primary)" if field["is_primary"] else "")
    if field["reason"]:
        return [name, *[NOTHING] * 6, field["reason"]]
    if "agreement" in field:
        found = field["agreement"]
        all_of_them = found["coefficients"]
        first = all_of_them[found["primary"]]
        gwet = all_of_them.get("ac2_quadratic") or all_of_them.get("ac1") or all_of_them.get("ac1_macro")
        plain = all_of_them.get("percent_agreement") or all_of_them.get("percent_exact")
        note = UNRELIABLE if first["value"] is not None and not first["is_reliable"] else remark(first)
        cells = [
            value(first),
            interval(first),
            value(gwet),
            value(plain),
            f"{first['n_items']:,}",
            str(first["n_raters"]),
        ]
        return [name, *cells, note]
    one = field["spans"]["alpha_tokens"] if "spans" in field else field["same_words"]
    n = [f"{one['n_items']:,}", str(one["n_raters"])]
    if "spans" in field:
        return [
            name,
            value(one),
            interval(one),
            NOTHING,
            value(field["spans"]["f1_tokens"]),
            *n,
            "α over tokens; F1 of pairs",
        ]
    return [name, NOTHING, NOTHING, NOTHING, value(one), *n, "the same words; no reliability"]


def coefficient_table(coefficients: Figures, caption: str) -> Table:
    """Coefficients, a line each."""
    rows = [[coefficient_name(name), *estimate(one)] for name, one in coefficients.items()]
    return tidy(Table(caption, [Column("Coefficient", is_number=False), *ESTIMATE], rows))


def tidy(table: Table) -> Table:
    """Without a last column in which nothing stands: most tables need no remark."""
    if any(row[-1] for row in table.rows):
        return table
    return table._replace(columns=table.columns[:-1], rows=[row[:-1] for row in table.rows])


def category_table(categories: Sequence[Figures]) -> Table:
    """Each category: how often it is given, and how far raters agree when one of them gives it."""
    columns = [
        Column("Category", is_number=False),
        Column("Prevalence"),
        Column("Ratings"),
        Column("Items", "in which it occurs"),
        Column("Agreement on it"),
        Column("95 % interval"),
        Column("Remark", is_number=False),
    ]
    rows = [
        [
            one["name"],
            value(one["prevalence"]),
            f"{one['n_ratings']:,}",
            f"{one['n_items']:,}",
            value(one["specific_agreement"]),
            interval(one["specific_agreement"]),
            remark(one["specific_agreement"]),
        ]
        for one in categories
    ]
    return tidy(Table("Each category for itself", columns, rows))


def pair_table(pairs: Sequence[Figures]) -> Table:
    """Kappa of every pair of raters, with the number of items both judged."""
    names = list(dict.fromkeys(name for one in pairs for name in (one["first"], one["second"])))
    cells = {(one["first"], one["second"]): f"{value(one['kappa'], 2)} ({one['kappa']['n_items']:,})" for one in pairs}
    rows = [[first, *(cells.get((first, second), "") for second in names[1:])] for first in names[:-1]]
    columns = [Column("Rater", is_number=False), *(Column(name) for name in names[1:])]
    return Table("Cohen’s κ of every pair of raters, and in brackets the items that both judged", columns, rows)


def label_table(labels: Sequence[Figures], most: int) -> Table:
    """Labels that somebody gave, the commonest first."""
    given = sorted((one for one in labels if one["n_items"]), key=lambda one: (-one["n_ratings"], one["label"]))
    columns = [
        Column("Label", is_number=False),
        Column("Prevalence"),
        Column("Items", "n⁺"),
        Column("α"),
        Column("AC1"),
        Column("Positive agreement", "= F1"),
        Column("Remark", is_number=False),
    ]
    rows = [
        [
            f"{one['name']} ({one['label']})",
            value(one["prevalence"]),
            f"{one['n_items']:,}",
            whole(one["alpha"]),
            whole(one["ac1"]),
            whole(one["positive_agreement"]),
            remark(one["alpha"]) if one["alpha"]["value"] is None else "",
        ]
        for one in given[:most]
    ]
    never = len(labels) - len(given)
    caption = f"Each label for itself; {never} of {len(labels)} were given by nobody. * interval unreliable"
    return Table(caption, columns, rows, max(len(given) - most, 0))


def group_table(found: Figures) -> Table:
    """Agreement within and between groups of raters."""
    rows = [[f"{name} ({found['n_raters'][name]} raters)", *estimate(one)] for name, one in found["groups"].items()]
    rows += [[words, *estimate(found[key])] for key, words in BETWEEN.items()]
    columns = [Column("Raters", is_number=False), *ESTIMATE]
    return tidy(Table(f"By {found['grouping']}: α of the primary field", columns, rows))


BETWEEN = {
    "overall": "All raters",
    "within": "Pairs of the same group",
    "between": "Pairs of different groups",
    "difference": "Within minus between",
}


def retest_table(retests: Sequence[Figures]) -> Table:
    """All raters with themselves, a line per field; then each rater on the primary field."""
    columns = [
        Column("Field", is_number=False),
        Column("Pairs"),
        Column("Agreement"),
        Column("AC1"),
        Column("κ", "weighted where ordered"),
        Column("Remark", is_number=False),
    ]
    rows = [retest_row(one["name"], one["pooled"]) for one in retests]
    rows += [retest_row(f"{one['name']}: {rater}", own) for one in retests for rater, own in one["raters"].items()]
    return tidy(
        Table("The same rater twice; of all raters, whole items are resampled. * interval unreliable", columns, rows)
    )


def retest_row(name: str, one: Figures) -> list[str]:
    """One line of it."""
    figures = one["figures"]
    kappa = figures.get("weighted_kappa") or figures["kappa"]
    cells = [whole(figures["percent_agreement"]), whole(figures["ac1"]), whole(kappa)]
    return [name, f"{one['n_pairs']:,}", *cells, " ".join(one["notes"])]


def gold_table(found: Figures) -> Table:
    """Accuracy of all and of each rater."""
    columns = [
        Column("Rater", is_number=False),
        Column("Accuracy"),
        Column("95 % interval"),
        Column("Items"),
        Column("Remark", is_number=False),
    ]
    rows = [["All raters", *estimate(found["pooled"]["accuracy"])]]
    rows += [[rater, *estimate(one["accuracy"])] for rater, one in found["raters"].items()]
    caption = f"{found['name']}: accuracy on {found['n_items']} items with a known answer; of all raters, whole items are resampled"
    return Table(caption, columns, rows)


def validity_tables(found: Figures, most: int) -> tuple[Table, Table]:
    """How well labels foretell where features fire: all together, and each."""
    columns = [
        Column("", is_number=False), Column("Value"), Column("95 % interval"), Column("Labels"),
        Column("Remark", is_number=False),
    ]  # fmt: skip
    words = {
        "balanced_accuracy": "Balanced accuracy",
        "sensitivity": "Firing passages marked",
        "specificity": "Silent ones not",
    }
    caption = (
        f"{found['n_tasks']:,} labels, each given alone with passages to mark; ½ is guessing. Whole tasks are resampled"
    )
    pooled = Table(caption, columns, [[name, *estimate(found["pooled"][key])] for key, name in words.items()])
    each = [
        Column("Feature", is_number=False), Column("Balanced accuracy"), Column("95 % interval"), Column("Raters"),
        Column("Passages"),
    ]  # fmt: skip
    weakest = sorted(found["labels"], key=lambda one: (one["balanced_accuracy"], one["item_id"]))
    rows = [
        [
            f"{one['hook_point']}/{one['sae_id']}/{one['number']}",
            f"{one['balanced_accuracy']:.3f}",
            f"{one['low']:.3f} to {one['high']:.3f}",
            f"{one['n_raters']}",
            f"{one['n_contexts']}",
        ]
        for one in weakest
    ]
    cut = max(len(rows) - most, 0)
    return pooled, Table("Each label, the weakest first; its passages count as trials (Wilson)", each, rows[:most], cut)


def class_table(found: Figures) -> Table:
    """Sensitivity and specificity of each class, all raters pooled."""
    columns = [
        Column("Category", is_number=False),
        Column("Gold answers"),
        Column("Sensitivity"),
        Column("Specificity"),
    ]
    rows = [
        [one["name"], f"{one['n_gold']:,}", whole(one["sensitivity"]), whole(one["specificity"])]
        for one in found["pooled"]["classes"]
    ]
    return Table("Each category, all raters pooled. * interval unreliable", columns, rows)


def confidence_table(found: Figures) -> Table:
    """The reliability curve in figures."""
    columns = [
        Column("Stated", is_number=False),
        Column("Judgements"),
        Column("Right"),
        Column("95 % interval"),
        Column("Remark", is_number=False),
    ]
    rows = [
        [
            f"{one['confidence']:.0%}",
            f"{one['accuracy']['n_ratings']:,}",
            value(one["accuracy"]),
            interval(one["accuracy"]),
            remark(one["accuracy"]),
        ]
        for one in found["bins"]
    ]
    return tidy(Table("Stated confidence beside the share of right answers", columns, rows))


def week_table(weeks: Iterable[Figures]) -> Table:
    """Agreement week by week."""
    rows = [[one["week"], *estimate(one["alpha"])] for one in weeks]
    return Table(
        "α of the primary field, by the week of an item’s last judgement",
        [Column("Week", is_number=False), *ESTIMATE],
        rows,
    )


def drift_table(raters: Iterable[Figures]) -> Table:
    """Each rater's agreement with the others over time."""
    columns = [
        Column("Rater", is_number=False),
        Column("Judgements"),
        Column("Agreement with others", "mean"),
        Column("Forgetting mean", "at the end"),
        Column("EWMA alarms"),
        Column("CUSUM alarms"),
    ]
    rows = [
        [
            one["rater"],
            f"{one['n']:,}",
            plain(one["mean"]),
            plain(one["last_ewma"]),
            str(one["n_ewma_alarms"]),
            str(one["n_cusum_alarms"]),
        ]
        for one in raters
    ]
    return Table("Each rater’s agreement with the other raters of an item, in the order of judgements", columns, rows)


def plain(number: float | None) -> str:
    """A share, or the sign for none."""
    return NOTHING if number is None else f"{number:.3f}"


def winner_table(found: Figures) -> Table:
    """How many items each category wins."""
    has_weights = "weighted_map" in found["winners"][0]
    columns = [Column("Winner", is_number=False), Column("Vote"), Column("MAP")] + [
        Column("Weighted MAP")
    ] * has_weights
    keys = ["vote", "map"] + ["weighted_map"] * has_weights
    rows = [[one["category"], *(f"{one[key]:,}" for key in keys)] for one in found["winners"]]
    return Table("Items that each category wins", columns, rows)


def weight_table(found: Figures) -> Table:
    """Raters' weights and what they rest on."""
    columns = [Column("Rater", is_number=False), Column("Weight"), Column("Judgements"), Column("Consistency")]
    columns += [Column("measured on", is_number=False), Column("Learnability of the rationale")]
    rows = [
        [
            one["rater"],
            plain(one["weight"]),
            f"{one['n_judgements']:,}",
            plain(one["consistency"]),
            {"retest": "repeated items", "others": "the others’ answers", "none": "nothing that varies"}[
                one["consistency_from"]
            ],
            plain(one["learnability"]),
        ]
        for one in found["weights"]
    ]
    return Table("Raters’ weights, which are a prior and never a gate", columns, rows)


def flip_table(found: Figures, most: int) -> Table:
    """Items whose winner depends on the reading."""
    has_weights = any(one["weighted_map"] is not None for one in found["flips"])
    columns = [Column(name, is_number=False) for name in ("Feature", "Vote", "MAP")]
    columns += [Column("Weighted MAP", is_number=False)] * has_weights
    rows = [
        [
            f"{one['hook_point']}/{one['sae_id']}/{one['number']}",
            one["vote"],
            one["map"],
            *[one["weighted_map"] or NOTHING] * has_weights,
        ]
        for one in found["flips"][:most]
    ]
    return Table(
        "Items whose winner depends on how the answers are read", columns, rows, max(len(found["flips"]) - most, 0)
    )


def school_table(found: Figures) -> Table:
    """Who is of which school, and how many items each category wins in it."""
    first, second = found["readings"]
    rows = [["Raters", *(", ".join(one["raters"]) for one in (first, second))]]
    rows += [[name, f"{n:,}", f"{second['winners'][name]:,}"] for name, n in first["winners"].items()]
    columns = [Column("Winner", is_number=False), Column("First school"), Column("Second school")]
    return Table("Two schools, each read alone: items that each category wins", columns, rows)


def differing_table(found: Figures, most: int) -> Table:
    """Items whose winner is not the same in both schools."""
    columns = [Column(name, is_number=False) for name in ("Feature", "First school", "Second school", "Panel (MAP)")]
    rows = [
        [f"{one['hook_point']}/{one['sae_id']}/{one['number']}", *one["schools"], one["panel"]]
        for one in found["differing"][:most]
    ]
    return Table("Items on which the schools differ", columns, rows, max(len(found["differing"]) - most, 0))


def flow_table(flow: Figures) -> Table:
    """From all judgements to those that count."""
    rows = [["All judgements", f"{flow['n_judgements']:,}"]]
    rows += [[f"left out: {one['reason']}", f"−{one['n']:,}"] for one in flow["left_out"]]
    rows += [["Counted for the headline", f"{flow['n_counted']:,}"], ["Items", f"{flow['n_items']:,}"]]
    return Table("Which judgements count", [Column("", is_number=False), Column("Number")], rows)


def panel_table(panel: Sequence[Figures]) -> Table:
    """The raters."""
    columns = [Column(name, is_number=False) for name in ("Rater", "Institution", "Specialty", "Seniority")]
    columns += [Column("Judgements", "counted"), Column("Active time", "median, s")]
    rows = [
        [
            one["rater"],
            one["institution"],
            one["specialty"] or "not stated",
            one["seniority"] or "not stated",
            f"{one['n_judgements']:,}",
            NOTHING if one["median_active_s"] is None else f"{one['median_active_s']:g}",
        ]
        for one in panel
    ]
    return Table("The panel, by pseudonym", columns, rows)


def two_columns(caption: str, pairs: Mapping[str, Any]) -> Table:
    """Names and values."""
    rows = [[name, f"{one:,}" if isinstance(one, int) else str(one)] for name, one in pairs.items()]
    return Table(caption, [Column("", is_number=False), Column("", is_number=False)], rows)
