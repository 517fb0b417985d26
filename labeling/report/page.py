"""The agreement report as one page with everything in it: no script, nothing loaded, the same bytes for the same figures.

The content security policy names the one style by its hash and allows nothing else. All texts are escaped.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labeling.report import plots, tables
from labeling.report.methods import KINDS
from labeling.standalone_page import rendered

SOURCES = Path(__file__).parent
Figures = Mapping[str, Any]


def json_text(report: Figures) -> str:
    """The report as JSON, readable, the same bytes for the same figures."""
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def page(report: Figures) -> str:
    """The report as HTML."""
    return rendered(SOURCES / "template.html.j2", SOURCES / "report.css", **content(report))


def content(report: Figures) -> dict[str, Any]:
    """All that the template shows."""
    most = report["config"]["max_listed"]
    return {
        "report": report,
        "summary": tables.summary_table(report),
        "forest": plots.forest(list(headline(report["fields"])), "Krippendorff’s α of each field with its interval"),
        "effects": list(effects(report["fields"])),
        "flow": tables.flow_table(report["flow"]),
        "numbers": tables.two_columns("How many", numbers(report["flow"])),
        "versions": versions(report["codebook_versions"]),
        "panel": tables.panel_table(report["panel"]),
        "fields": [field(one, most) for one in report["fields"]],
        "groups": [tables.group_table(one) for one in report["groups"]],
        "retests": tables.retest_table(report["retests"]) if report["retests"] else None,
        "gold": [{"all": tables.gold_table(one), "classes": tables.class_table(one)} for one in report["gold"]],
        "validity": tables.validity_tables(report["validity"], most) if report["validity"] else (),
        "confidence": confidence(report["confidence"]),
        "adjudication": adjudication(report["adjudication"]),
        "revisions": revisions(report["revisions"]),
        "drift": drift(report["drift"]),
        "consensus": consensus(report["consensus"], most),
        "n_open": sum(one["status"] != "answered" for one in report["grras"]),
        "codebook": codebook(report["codebook"]),
        "origin": tables.two_columns("What decides every figure", origin(report)),
    }


def headline(fields: Iterable[Figures]) -> Iterable[tuple[str, Figures]]:
    """Names and primary estimates of the fields that have one."""
    for one in fields:
        if one["reason"]:
            continue
        if "agreement" in one:
            found = one["agreement"]
            yield one["name"], found["coefficients"][found["primary"]]
        elif "spans" in one:
            yield f"{one['name']} (tokens)", one["spans"]["alpha_tokens"]


def effects(fields: Iterable[Figures]) -> Iterable[str]:
    """Sentences on prevalence, with the field's name."""
    for one in fields:
        for line in one.get("agreement", {}).get("notes", ()):
            if line.startswith("Prevalence effect"):
                yield tables.in_words(f"{line.split(':', 1)[0]}, {one['name']}:{line.split(':', 1)[1]}")


def numbers(flow: Figures) -> dict[str, str]:
    """Counts in words."""
    return {
        "Features": f"{flow['n_features']:,}",
        "Raters per item": spread(flow["raters_per_item"]),
        "Items per rater": spread(flow["items_per_rater"]),
        "Judgements by stratum": ", ".join(f"{name} {n:,}" for name, n in flow["strata"].items()),
        "Skipped, by reason": ", ".join(f"{name} {n:,}" for name, n in flow["skips"].items()) or "none",
    }


def spread(one: Figures | None) -> str:
    """Smallest to largest, and the median."""
    return tables.NOTHING if one is None else f"{one['min']:,} to {one['max']:,}, median {one['median']:g}"


def versions(found: list[Figures]) -> tables.Table | None:
    """Codebook versions where there are several: they are never pooled."""
    if len(found) < 2:
        return None
    rows = [[f"Version {one['n']}", one["sha256"][:16], f"{one['n_judgements']:,}"] for one in found]
    columns = [
        tables.Column("Codebook", is_number=False),
        tables.Column("Hash", is_number=False),
        tables.Column("Judgements"),
    ]
    return tables.Table("Codebook versions, which are never pooled", columns, rows)


def field(one: Figures, most: int) -> dict[str, Any]:
    """What is shown of one field."""
    shown: dict[str, Any] = {
        "key": one["key"],
        "name": one["name"],
        "is_primary": one["is_primary"],
        "kind": KINDS[one["kind"]].capitalize() + ".",
        "reason": one["reason"],
        "notes": [gate(one["gate"])] if "gate" in one else [],
        "tables": [],
        "more": [],
    }
    if one["reason"]:
        if "cannot_judge" in one:
            add_abstention(shown, one["cannot_judge"])
        return shown
    if one["kind"] in ("choice", "scale"):
        add_categorical(shown, one)
    elif one["kind"] == "concepts":
        add_concepts(shown, one, most)
    elif one["kind"] == "rationale":
        spans = one["spans"]
        figures = {"alpha_nominal": spans["alpha_tokens"], "positive_agreement": spans["f1_tokens"]}
        caption = f"Cited tokens: {spans['n_tokens']:,} tokens, {spans['marked_share']:.1%} of them marked"
        shown["tables"].append(tables.coefficient_table(figures, caption))
        if spans["n_items_without_evidence"]:
            shown["notes"].append(
                f"{spans['n_items_without_evidence']:,} items are left out: their evidence is not here."
            )
    if "same_words" in one:
        caption = "Free words: how often two raters write the same, once case, spaces and punctuation are put aside"
        shown["tables"].append(tables.coefficient_table({"The same words": one["same_words"]}, caption))
    return shown


def gate(found: Figures) -> str:
    """The codebook gate's verdict, with the threshold."""
    verdict = "passed" if found["is_passed"] else "not passed"
    wanted = f"Codebook gate, which wants a lower bound of α of {found['target']:g}"
    return tables.in_words(f"{wanted}: {verdict}. {found['sentence']}")


def add_categorical(shown: dict[str, Any], one: Figures) -> None:
    """Coefficients, categories, sensitivity, pairs."""
    found = one["agreement"]
    n = f"{found['n_items']:,} items, {found['n_raters']} raters, {found['n_ratings']:,} ratings; "
    n += f"{found['n_categories']} categories"
    shown["notes"] += [tables.in_words(line) for line in found["notes"] if line.startswith("Prevalence effect")]
    shown["tables"].append(tables.coefficient_table(shown_first(found["coefficients"]), n))
    shown["tables"].append(tables.category_table(found["categories"]))
    if "interval" in one:
        shown["tables"].append(
            tables.coefficient_table(one["interval"], "Steps declared equal: α of squared differences, and ICC")
        )
    if "cannot_judge" in one:
        add_abstention(shown, one["cannot_judge"])
    rest = {
        name: figure for name, figure in found["coefficients"].items() if name not in shown_first(found["coefficients"])
    }
    if rest:
        shown["more"].append(tables.coefficient_table(rest, "More coefficients, other weights"))
    if found["pairs"]:
        shown["more"].append(tables.pair_table(found["pairs"]))
    shown["more"].append(analytic_table(found))


def shown_first(coefficients: Figures) -> dict[str, Figures]:
    """Coefficients that stand on the open page: of weights, linear and quadratic AC2 alone."""
    hidden = (
        "_gwet_ordinal_weights",
        "conger_kappa",
        "fleiss_pi_linear",
        "brennan_prediger_linear",
        "cohen_kappa_linear",
    )
    return {name: one for name, one in coefficients.items() if not any(part in name for part in hidden)}


def add_abstention(shown: dict[str, Any], found: Figures) -> None:
    """The sensitivity to what "cannot judge" counts as."""
    names = {"alpha_nominal": "α", "ac1": "AC1", "percent_agreement": "agreement"}
    outcome = {f"Judged or not: {words}": found["outcome"]["coefficients"][key] for key, words in names.items()}
    category = {
        f"As one more category: {words}": found["as_category"]["coefficients"][key] for key, words in names.items()
    }
    caption = f"“Cannot judge” was said {found['n']:,} times ({found['share']:.1%}); above it counts as missing"
    shown["tables"].append(tables.coefficient_table({**outcome, **category}, caption))


def analytic_table(found: Figures) -> tables.Table:
    """Gwet's standard errors, as a cross-check."""
    columns = [
        tables.Column("Coefficient", is_number=False),
        *map(tables.Column, ("Value", "Standard error", "95 % interval")),
    ]
    rows = [
        [
            tables.coefficient_name(name),
            tables.minus(f"{one['value']:.3f}"),
            f"{one['se']:.3f}",
            tables.minus(f"{one['low']:.3f} to {one['high']:.3f}"),
        ]
        for name, one in found["analytic"].items()
    ]
    return tables.Table("Cross-check: Gwet’s standard errors by linearisation", columns, rows)


def add_concepts(shown: dict[str, Any], one: Figures, most: int) -> None:
    """Set metrics, and each label."""
    found = one["agreement"]
    n = f"{found['n_items']:,} items, {found['n_raters']} raters, {found['n_ratings']:,} answers; {found['n_categories']} concepts"
    own = {name: figure for name, figure in found["coefficients"].items() if not name.endswith("_parents")}
    shown["tables"].append(tables.coefficient_table(own, n))
    if one["has_parents"]:
        above = {name: figure for name, figure in found["coefficients"].items() if name.endswith("_parents")}
        shown["tables"].append(tables.coefficient_table(above, "The same at the parents’ level of the vocabulary"))
    shown["tables"].append(tables.label_table(found["labels"], most))


def confidence(found: Figures | None) -> dict[str, Any] | None:
    """The reliability curve."""
    if found is None:
        return None
    names = {
        "calibration_error": "Expected calibration error",
        "overconfidence": "Overconfidence",
        "brier": "Brier score",
    }
    figures = {words: found[key] for key, words in names.items()}
    return {
        "picture": plots.reliability(found["bins"]),
        "figures": tables.coefficient_table(figures, "Calibration of stated confidence"),
        "bins": tables.confidence_table(found),
    }


def adjudication(found: Figures | None) -> tables.Table | None:
    """What seniors decided."""
    if found is None:
        return None
    share = found["raters_with_decision"]
    return tables.two_columns(
        "Adjudication",
        {
            "Items": found["n_items"],
            "How they ended": counts(found["dispositions"]),
            "What had made them ambiguous": counts(found["error_kinds"]),
            "Decided as most raters had said": f"{found['n_as_winner']:,} of {found['n_with_winner']:,} with a single winner",
            "Raters' answers that were as decided": f"{tables.value(share)} ({tables.interval(share)})",
        },
    )


def counts(found: Figures) -> str:
    """Counts by name."""
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in found.items())


def revisions(found: Figures | None) -> list[tables.Table]:
    """Agreement before and after."""
    if found is None:
        return []
    done = []
    for key, words in (("before", "Before, blind"), ("after", "After revision (never a headline)")):
        part = found[key]
        if part["reason"]:
            done.append(tables.two_columns(words, {"No figure": part["reason"]}))
        else:
            done.append(tables.coefficient_table(shown_first(part["coefficients"]), f"{words}: the items concerned"))
    return done


def drift(found: Figures) -> dict[str, tables.Table] | None:
    """Weeks and raters."""
    if not found["weeks"]:
        return None
    return {"weeks": tables.week_table(found["weeks"]), "raters": tables.drift_table(found["raters"])}


def consensus(found: Figures | None, most: int) -> dict[str, Any] | None:
    """Winners, flips and the weights behind the third reading."""
    if found is None:
        return None
    return {
        "winners": tables.winner_table(found),
        "flips": tables.flip_table(found, most),
        "weights": tables.weight_table(found),
        **schools(found["schools"], most),
    }


def schools(found: Figures | None, most: int) -> dict[str, Any]:
    """What was found of two schools, in a sentence; and where there are two, what each says."""
    if found is None:
        return {"said": "Fewer than four raters answered, too few to look for two schools among them."}
    against = f"p = {found['p_value']:.3f} against {found['n_simulated']} panels simulated without schools"
    if not found["is_split"]:
        return {
            "said": f"Two schools were looked for in how pairs of raters agree beyond what the model expects: none ({against})."
        }
    return {
        "said": f"The panel has two schools ({against}). Neither is an error of the other: both readings stand here beside the "
        f"panel's, and {len(found['differing']):,} items have another winner in one than in the other.",
        "schools": tables.school_table(found),
        "differing": tables.differing_table(found, most),
    }


def codebook(found: Figures) -> tables.Table:
    """The fields that were asked."""
    columns = [tables.Column("Field", is_number=False), tables.Column("Kind", is_number=False)]
    columns += [
        tables.Column("Categories"),
        tables.Column("“Cannot judge”", is_number=False),
        tables.Column("Steps equal", is_number=False),
    ]
    rows = [
        [
            one["name"],
            KINDS[one["kind"]],
            str(one["n_categories"] or tables.NOTHING),
            "offered" if one["can_abstain"] else "not offered",
            "declared" if one["is_interval"] else "not declared",
        ]
        for one in found["fields"]
    ]
    vocabulary = f"; vocabulary: {found['vocabulary']}" if found["vocabulary"] else ""
    return tables.Table(f"{found['title']}, version {found['n']}{vocabulary}", columns, rows)


def origin(report: Figures) -> dict[str, str]:
    """Hashes, seeds, versions."""
    found = report["provenance"]
    return {
        "Judgements (SHA-256)": found["input_digest"],
        "Codebook (SHA-256)": found["codebook_sha256"],
        "Seed of the resamples": str(found["seed"]),
        "Resamples": f"{found['n_bootstraps']:,}",
        "Seed of the project": str(found["project_seed"]),
        "Made by": found["software"],
        "Format": f"{report['format']} {report['version']}",
        "First counted judgement": report["flow"]["first"] or tables.NOTHING,
        "Last counted judgement": report["flow"]["last"] or tables.NOTHING,
    }
