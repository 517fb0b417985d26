"""An audit as titles, sentences and tables, for the terminal and the page alike."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Section(NamedTuple):
    """One part of an audit."""

    title: str
    sentences: list[str]
    columns: list[str]
    rows: list[list[str]]

    def lines(self, most: int) -> list[str]:
        """As text, with the first rows of the table."""
        widths = [max(len(row[i]) for row in [self.columns, *self.rows[:most]]) for i in range(len(self.columns))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [self.columns, *self.rows[:most]]
        ]
        more = [f"… {len(self.rows) - most} more"] if len(self.rows) > most else []
        return [*self.sentences, *(table if self.rows else []), *more]


def of(kind: str, found: dict[str, Any]) -> list[Section]:
    """The sections of an audit."""
    makers: dict[str, Callable[[dict[str, Any]], list[Section]]] = {
        "protected": protected, "drift": drift, "failures": failures, "process": process,
    }  # fmt: skip
    return makers[kind](found)


def protected(found: dict[str, Any]) -> list[Section]:
    """Claims, comparisons, carriers, ablations."""
    alpha, least = found["settings"]["alpha"], found["settings"]["least_effect"]
    claims = [claim(one) for one in found["claims"]] or [
        f"No gap is claimed: none of {found['n_tests']} comparisons is beyond chance (corrected, alpha {alpha:g}) and as large as "
        f"{least:g}."
    ]
    missing = found["not_in_the_cohort"]
    if missing:
        claims.append(f"Not in the cohort, so not looked at: {', '.join(missing)}.")
    claims.append(f"The model answers {found['accuracy']:.1%} of {found['about']['n_texts']} texts rightly.")
    gaps = [
        [one["kind"], f"{one['attribute']}={one['value']}", one["truth"], count(one["n"]), signed(one["effect"]),
         bounds(one), signed(one["right"]), p_of(one["p"])]
        for one in found["gaps"][:60]
    ]  # fmt: skip
    carriers = [
        [f"{one['attribute']}={one['value']}", f"{one['hook_point']}/{one['feature']}", f"{one['auroc']:.3f}", bounds(one),
         f"{one['firing']:.0%}", f"{one['firing_elsewhere']:.0%}", "yes" if one["is_above_null"] else "no"]
        for one in found["carriers"]
    ]  # fmt: skip
    ablations = [
        [one["attribute"], count(len(one["features"])), signed(one["effect"]), bounds(one), f"{one['flipped']:.1%}",
         f"{one['moved']:.4f}", f"{one['control_moved'][0]:.4f} [{one['control_moved'][1]:.4f}, {one['control_moved'][2]:.4f}]",
         p_of(one["p"]), change(one)]
        for one in found["ablations"]
    ]  # fmt: skip
    where = found["ablation_texts_of"]
    return [
        Section("What is claimed", claims, [], []),
        Section(
            "Outcomes by group",
            ["Probability of the right answer in the group − elsewhere, among texts with the same right answer. “Swapped”: the "
             "same texts with the value in its place. p is corrected for all comparisons of its kind."],
            ["kind", "group", "right answer", "patients", "effect", "95 % interval", "right answers", "p"], gaps,
        ),
        Section(
            "Features that carry a group",
            [f"Chosen on half of the patients, estimated on the others. By chance the best |AUROC − ½| of all features and layers "
             f"stays below {found['carrier_null']:.3f} in 95 % of permutations."],
            ["group", "feature", "AUROC", "95 % interval", "fires", "elsewhere", "above null"], carriers,
        ),
        Section(
            "What they do",
            ["The features above the null ablated, without the SAE's error, beside as many random features like them"
             + (f"; on texts whose right answer is {where}." if where else ".")],
            ["attribute", "features", "effect", "95 % interval", "flipped", "moved", "controls moved", "p", "swap before → after"],
            ablations,
        ),
    ]  # fmt: skip


def claim(one: dict[str, Any]) -> str:
    """A claim in a sentence."""
    how = (
        f"writing {one['attribute']}={one['value']} into {one['n']} patients' texts"
        if one["kind"] == "swapped"
        else f"being {one['attribute']}={one['value']} ({one['n']} patients, {one['n_others']} others)"
    )
    return (
        f"{one['truth']}: {how} changes the probability of the right answer by {signed(one['effect'])} {bounds(one)}, and of "
        f"{one['instead']} by {signed(one['instead_effect'])} (p {p_of(one['p'])}, corrected)."
    )


def change(one: dict[str, Any]) -> str:
    """How far swapping the attribute moves answers, before and after."""
    return "–" if one["swap_before"] is None else f"{one['swap_before']:.3f} → {one['swap_after']:.3f}"


def drift(found: dict[str, Any]) -> list[Section]:
    """The verdict, the signs, the features."""
    verdict = "The new data differ from the reference" if found["is_alarm"] else "No change beyond chance"
    first = (
        f"{verdict}: p = {p_of(found['p'])} for all signs together, alarm at {found['alpha']:g}; {found['n_reference']} documents "
        f"of the reference, {found['n_new']} new ones. An alarm says that the data changed, not that answers are wrong."
    )
    signs = [
        [name, f"{one['statistic']:.3g}", f"{one['null_median']:.3g}", p_of(one["p"])]
        for name, one in found["signs"].items()
    ]
    fvu = [[name, f"{one['before']:.4f}", f"{one['after']:.4f}"] for name, one in found["fvu"].items()]
    shifted = [
        [
            f"{one['hook_point']}/{one['feature']}",
            f"{one['before']:.2%}",
            f"{one['after']:.2%}",
            signed(one["z"], 1),
            p_of(one["p"]),
        ]
        for one in found["shifted"]
    ]
    return [
        Section("Verdict", [first], ["sign", "statistic", "usual", "p alone"], signs),
        Section("Reconstruction", ["Share of variance that is left unexplained."], ["hook point", "before", "after"], fvu),
        Section(
            "Features whose firing shifted", ["Share of tokens; p is corrected for all features."],
            ["feature", "before", "after", "z", "p"], shifted,
        ),
        Section("Dead and novel features", [named("Gone", found["dead"]), named("New", found["novel"])], [], []),
    ]  # fmt: skip


def failures(found: dict[str, Any]) -> list[Section]:
    """The list, and the features over all of it."""
    first = f"{found['n_wrong']} of {found['n']} answers are wrong."
    rows = [
        [one["id"], one["truth"], f"{one['answer']} {one['probability']:.2f}",
         ", ".join(f"{word['text']} {word['score']:+.2f}" for word in one["tokens"][:4]),
         ", ".join(f"{name} {here:.2g} (usual {usual:.2g})" for name, here, usual in one["features"][:2])]
        for one in found["failures"]
    ]  # fmt: skip
    suspects = [
        [
            f"{one['hook_point']}/{one['feature']}",
            f"{one['wrong']:.3g}",
            f"{one['right']:.3g}",
            signed(one["z"], 1),
            p_of(one["p"]),
        ]
        for one in found["suspects"]
    ]
    confusions = [[right, answered, str(n)] for right, answered, n in found["confusions"]]
    return [
        Section(
            "Wrong answers, the surest first",
            [first, "Tokens with a positive score spoke for the mistake. A feature differs from matched right answers; that is no "
             "proof that it is the cause."],
            ["text", "right", "answered", "tokens", "features"], rows,
        ),
        Section(
            "Features over all wrong answers", [found["remark"] or "p is corrected for all features."],
            ["feature", "wrong", "right", "z", "p"], suspects,
        ),
        Section("What is taken for what", [], ["right", "answered", "texts"], confusions),
    ]  # fmt: skip


def process(found: dict[str, Any]) -> list[Section]:
    """What fired for which diagnosis."""
    without, elsewhere = found["findings_without_features"], found["fired_where_not_mentioned"]
    rows = [
        [one["diagnosis"], one["finding"], count(one["n"]), f"{one['fired']:.0%}", bounds(one), one["first_layer"] or "none",
         share(one["fired_when_right"]), share(one["fired_when_wrong"]), share(elsewhere.get(one["finding"]))]
        for one in found["steps"]
    ]  # fmt: skip
    detectors = [
        [
            one["finding"],
            one["hook_point"],
            ", ".join(map(str, one["features"])),
            ", ".join(f"{x:.3f}" for x in one["auroc"]) or "named",
        ]
        for one in found["detectors"]
    ]
    first = ["Share of the texts that mention a finding in which features for it fired before the answer. That they fired does not "
             "say that the answer rests on them.", named("No layer has a feature for", without)]  # fmt: skip
    return [
        Section(
            "Expected findings", first,
            ["diagnosis", "finding", "texts", "fired", "95 % interval", "first layer", "when right", "when wrong",
             "not mentioned"], rows,
        ),
        Section("Features", [], ["finding", "hook point", "features", "held-out AUROC"], detectors),
    ]  # fmt: skip


def named(what: str, names: Sequence[str]) -> str:
    """A list in a sentence."""
    return f"{what}: {', '.join(names) or 'none'}."


def count(n: int) -> str:
    """A number of things."""
    return f"{n:,}"


def signed(value: float | None, digits: int = 3) -> str:
    """A change."""
    return "–" if value is None else f"{value:+.{digits}f}"


def share(value: float | None) -> str:
    """A share in per cent."""
    return "–" if value is None else f"{value:.0%}"


def bounds(one: dict[str, Any]) -> str:
    """An interval, where there is one."""
    return "–" if one["low"] is None else f"[{one['low']:.3f}, {one['high']:.3f}]"


def p_of(p: float) -> str:
    """A p-value."""
    return f"{p:.2g}"
