"""The methods paragraph and the answers to the reporting guideline, made of the report's figures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from labeling.bootstrap import EXACT

Figures = dict[str, Any]
KINDS = {
    "choice": "a choice among categories",
    "scale": "an ordered scale",
    "concepts": "a set of concepts from a vocabulary",
    "text": "free text",
    "rationale": "a rationale with cited spans of the evidence",
}

NO_SAMPLE = (
    "There is no headline sample: no judgement is a first, blind one, in its place, of an item of the random stratum irr_fixed "
    "in a main round."
)


def has_sample(report: Figures) -> bool:
    """Whether any judgement counts for the headline."""
    return report["flow"]["n_counted"] > 0


def number(n: int, noun: str, plural: str = "") -> str:
    """A count with its noun."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def listed(parts: Sequence[str]) -> str:
    """Words with commas and a last `and`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def span(found: Figures | None, noun: str) -> str:
    """A spread of counts in words."""
    if found is None:
        return f"no {noun}"
    if found["min"] == found["max"]:
        return f"{found['min']:g} {noun}"
    return f"{found['min']:g} to {found['max']:g} {noun} (median {found['median']:g})"


def paragraph(report: Figures) -> str:
    """How the figures were made, ready for a methods section."""
    parts = [
        *(sampled(report) if has_sample(report) else without_sample(report)),
        repeats(report),
        consensus(report),
        f"Analysis: {report['provenance']['software']}; input {report['provenance']['input_digest'][:16]}.",
    ]
    return " ".join(part for part in parts if part)


def asked(book: Figures) -> str:
    """The codebook and its fields."""
    kinds = [f"{one['name'].lower()} ({KINDS[one['kind']]})" for one in book["fields"]]
    return f"the codebook '{book['title']}', version {book['n']}, which asks for {listed(kinds)}"


BLIND = (
    "Raters worked independently and blind: no answer of another, no gold flag and no machine's explanation was shown before "
    "a judgement was submitted."
)


def without_sample(report: Figures) -> list[str]:
    """That nothing could be estimated, and why."""
    n = report["flow"]["n_judgements"]
    return [
        f"{NO_SAMPLE} No agreement is estimated: on items that were chosen for what others said of them, or whose answer was "
        f"known, it would be biased.",
        f"{number(n, 'judgement')} {'was' if n == 1 else 'were'} given on frozen evidence; this report is on "
        f"{asked(report['codebook'])}.",
        BLIND,
        intervals(report),
    ]


def sampled(report: Figures) -> list[str]:
    """Panel, sample, coefficients and intervals of the headline."""
    flow, panel = report["flow"], report["panel"]
    houses = len({one["institution"] for one in panel})
    return [
        f"{number(len(panel), 'rater')} from {number(houses, 'institution')} judged "
        f"{number(flow['n_features'], 'feature')} of sparse autoencoders ({number(flow['n_items'], 'item')}, "
        f"{span(flow['raters_per_item'], 'raters')} per item) on frozen evidence, by {asked(report['codebook'])}.",
        BLIND,
        "Agreement was estimated on a random sample of items with a fixed number of raters, from first judgements alone; "
        "gold, calibration, repeated, escalated and adaptively routed items, late surplus judgements and revisions were left "
        f"out ({flow['n_judgements'] - flow['n_counted']:,} of {flow['n_judgements']:,} judgements).",
        "The primary coefficient is Krippendorff's α (nominal for choices, ordinal for scales, MASI distance for sets). "
        "Beside it stand Gwet's AC1 or AC2 (linear and quadratic weights), Fleiss' π in Gwet's form for missing ratings, "
        "Brennan–Prediger's coefficient, mean pairwise agreement and agreement on each category. The number of categories is "
        "the codebook's. α uses items with two or more ratings; prevalences use all items with one or more.",
        f"{intervals(report)} Intervals are marked unreliable below 30 items, where the rarest category occurs in fewer than "
        "5 items, or where more than 5 % of the resamples are undefined. A coefficient that does not exist is reported as "
        "undefined, with the reason.",
        cannot_judge(report),
    ]


def intervals(report: Figures) -> str:
    """How the intervals that stand in the report were made, each way with its number."""
    n = Counter(methods_of([value for key, value in report.items() if key != "config"]))
    cfg = report["config"]
    ways = {
        "BCa": "BCa",
        "percentiles (BCa does not exist)": "percentiles, where BCa does not exist",
        EXACT: "exact bounds by Clopper and Pearson, where all items say the same",
    }
    said = [f"{n[key]:,} {words}" for key, words in ways.items() if n[key]]
    if not said:
        return ""
    return (
        f"95 % intervals come from {cfg['n_bootstraps']:,} bootstrap resamples of whole items with all their ratings (seed "
        f"{cfg['seed']}): {listed(said)}. Single raters' accuracy has Wilson's intervals, kappas of pairs and intraclass "
        "correlations analytic ones."
    )


def methods_of(value: Any) -> Iterator[str]:
    """The way of every interval in some figures."""
    if isinstance(value, dict):
        if "method" in value and value.get("low") is not None:
            yield value["method"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from methods_of(one)


def cannot_judge(report: Figures) -> str:
    """What was done with abstentions."""
    if not any(one.get("cannot_judge") for one in report["fields"]):
        return ""
    return "'Cannot judge' counts as missing in the headline; a sensitivity analysis counts it as a category."


def repeats(report: Figures) -> str:
    """How raters were compared with themselves and with gold."""
    parts = []
    if report["retests"]:
        one = report["retests"][0]["pooled"]
        parts.append(
            f"Test–retest agreement rests on {number(one['n_pairs'], 'repeated judgement')}, {one['days_min']:.0f} to "
            f"{one['days_max']:.0f} days apart."
        )
    if report["gold"]:
        parts.append(
            f"Accuracy was taken on {number(report['gold'][0]['n_items'], 'item')} with a known answer that raters were not told, "
            "with Wilson intervals for each rater, and resampled items for all of them."
        )
    if report["validity"]:
        parts.append(
            f"Blind tests were made of {number(report['validity']['n_tasks'], 'label')}: raters who had not judged the feature "
            "were given its label alone and marked the passages in which it fires; balanced accuracy resamples whole tasks."
        )
    return " ".join(parts)


def consensus(report: Figures) -> str:
    """How a consensus was formed."""
    if not report["consensus"]:
        return ""
    return (
        "Consensus is reported as the distribution of answers and as the posterior of a hierarchical model of raters' "
        "confusions (maximum a posteriori), chosen by left-out predictive loss, without and with raters' weights (consistency and "
        "learnability) in its prior; it never replaces the distribution." + schools(report["consensus"]["schools"])
    )


def schools(found: Figures | None) -> str:
    """How two schools were looked for."""
    if found is None:
        return ""
    return (
        " Two schools among the raters were looked for by the largest eigenvalue of the standardised residual agreement of pairs "
        f"of raters, against {found['n_simulated']} panels simulated from the model: "
        + ("both readings are reported." if found["is_split"] else "none were found.")
    )


def guideline(report: Figures) -> dict[int, str]:
    """What the figures say to the items of GRRAS, by number."""
    flow, book, panel = report["flow"], report["codebook"], report["panel"]
    primary = next((one for one in report["fields"] if one["is_primary"]), None)
    houses = sorted({one["institution"] for one in panel})
    strata = ", ".join(f"{name} {n:,}" for name, n in flow["strata"].items())
    n_raters, n_items = number(len(panel), "rater"), number(flow["n_items"], "item")
    n_repeats = sum(one["pooled"]["n_pairs"] for one in report["retests"][:1])
    digest = report["provenance"]["input_digest"][:16]
    found = {
        1: f"This page is titled 'Agreement of raters: {report['project']}'.",
        2: f"Codebook '{book['title']}', version {book['n']} (hash {book['sha256'][:12]}), with "
        f"{number(len(book['fields']), 'field')}; its rubric is in the codebook's file.",
        3: f"{number(flow['n_features'], 'feature')} of {number(len(report['saes']), 'autoencoder')}: "
        f"{', '.join(report['saes'])}.",
        4: f"{n_raters} of {listed(houses) if houses else 'no institution'}.",
        6: f"{n_items}, {span(flow['raters_per_item'], 'raters')} per item; {number(n_repeats, 'repeat')}.",
        7: "Headline items are the random stratum irr_fixed of main rounds, drawn with the round's seed. Judgements by "
        f"stratum: {strata}.",
        8: "Raters saw frozen evidence of each feature and the codebook; time on task is in the panel's table. "
        + (repeats(report) or "No item was repeated."),
        9: "Independent and blind: nothing of other raters was shown before submission.",
        10: "See the methods paragraph; every coefficient is named with its interval's method.",
        11: f"{n_raters}, {n_items}, {number(flow['n_counted'], 'judgement')} counted of {flow['n_judgements']:,}; "
        f"{number(sum(flow['skips'].values()), 'item')} skipped with a reason.",
        12: "Specialty, seniority and institution of every rater are in the panel's table, by pseudonym.",
        13: estimate_words(primary),
        15: f"The JSON beside this page has every table; the export has every judgement (input {digest}).",
    }
    return found if has_sample(report) else found | unsampled(strata, report)


def unsampled(strata: str, report: Figures) -> dict[int, str]:
    """The items of GRRAS that speak of the headline's sample, where there is none."""
    flow = report["flow"]
    counts = f"0 of {number(flow['n_judgements'], 'judgement')} count; {number(sum(flow['skips'].values()), 'item')} skipped."
    return {
        **dict.fromkeys((3, 4, 6, 12, 13), NO_SAMPLE),
        7: f"{NO_SAMPLE} Judgements by stratum: {strata}.",
        8: f"Raters saw frozen evidence of each feature and the codebook. {repeats(report) or 'No item was repeated.'}",
        11: f"{NO_SAMPLE} {counts}",
    }


def estimate_words(field: Figures | None) -> str:
    """The primary field's headline in words."""
    if field is None or field["reason"]:
        return "" if field is None else field["reason"]
    found = field["agreement"]
    one = found["coefficients"][found["primary"]]
    if one["value"] is None:
        return f"{field['name']}: undefined. {one['reason']}"
    ends = "no interval" if one["low"] is None else f"95 % interval {one['low']:.3f} to {one['high']:.3f}"
    return f"{field['name']}: α = {one['value']:.3f} ({ends}; {one['n_items']:,} items). All fields: see Fields."
