"""The report's section on which SAE to take: for each hook point a Pareto plot, the reasons, and all figures.

Architectures have a marker and a colour of their own (the palette of Okabe and Ito 2008), so that the plot can be read
without colours too.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from clinlens.choices import PlaceChoice, choices
from clinlens.report.gather import RunResult
from clinlens.report.plots import BAR_COLOURS, MARKERS, STYLE, Plot, draw, panels
from clinlens.report.tables import Column, Table, fixed, percent, texts
from training.choice import NAMES, Candidate, Choice, ChoiceConfig, Measure, pareto_front

INK = "#1d232a"
MOST_OPEN = 6
"""Hook points up to which each one's part of the page stands open."""


class Place(NamedTuple):
    """What the page shows of one hook point."""

    hook_point: str
    name: str
    """`layer 3`."""
    plot: Plot
    reasons: str
    table: Table


def content(run: RunResult, cfg: ChoiceConfig) -> dict[str, Any]:
    """What the template shows; empty where no hook point has two SAEs to choose from."""
    found = [place for place in choices(run.saes, cfg) if n_saes(place.choice) > 1]
    return {
        "choice_table": overview(run, found) if found else None,
        "choice_places": [
            Place(
                place.hook_point,
                run.short_names[place.hook_point],
                draw_place(run, place),
                place.reasons,
                verdict_table(run.short_names[place.hook_point], place.choice),
            )
            for place in found
        ],
        "choices_stand_open": len(found) <= MOST_OPEN,
        "choice_cfg": cfg,
        "max_dead": percent(cfg.max_dead_fraction),
    }


def n_saes(choice: Choice) -> int:
    """SAEs at the hook point, those left out included."""
    return len(everyone(choice))


def everyone(choice: Choice) -> list[Candidate]:
    """All SAEs of a choice, the recommended first, then by worth, then those left out."""
    taken = [] if choice.recommended is None else [choice.recommended]
    return [*taken, *(rival.candidate for rival in choice.rivals), *(one.candidate for one in choice.left_out)]


def overview(run: RunResult, found: Sequence[PlaceChoice]) -> Table:
    """The recommended SAE of each hook point."""
    columns = [Column("Hook point", is_number=False), Column("Recommended SAE", is_number=False), *FIGURES]
    rows = []
    for place in found:
        taken, name = place.choice.recommended, run.short_names[place.hook_point]
        rows.append(
            texts(name, "none", *[""] * len(FIGURES))
            if taken is None
            else texts(name, taken.sae_id, *figures(taken, place.choice))
        )
    return Table("The SAE to take at each hook point", columns, rows)


FIGURES = [
    Column("L0", "active features per token"),
    Column("Explained variance", "1 is perfect"),
    Column("CE loss score", "1: nothing lost"),
    Column("Dead", "never fired on held-out tokens"),
    Column("Features", "d_sae"),
    Column("Worth", "what is kept, less the price of L0"),
]


def figures(one: Candidate, choice: Choice) -> list[str]:
    """An SAE's figures, as the columns want them."""
    return [
        fixed(one.l0, 1),
        fixed(one.explained_variance, 3),
        fixed(one.ce_loss_score, 3),
        percent(one.dead_fraction),
        f"{one.d_sae:,}",
        fixed(one.worth(choice.measure, choice.price), 3),
    ]


def verdict_table(name: str, choice: Choice) -> Table:
    """Every SAE of a hook point, with what became of it."""
    columns = [Column("SAE", is_number=False), *FIGURES, Column("Verdict", is_number=False)]
    rows = [texts(one.sae_id, *figures(one, choice), verdict(one, choice)) for one in everyone(choice)]
    return Table(f"All SAEs at {name}, by worth in {NAMES[choice.measure]}", columns, rows)


def verdict(one: Candidate, choice: Choice) -> str:
    """What became of an SAE, in a few words."""
    if one == choice.recommended:
        return "recommended"
    reason = next((left.reason for left in choice.left_out if left.candidate == one), None)
    if reason is not None:
        return f"left out: {reason}"
    is_near = any(rival.candidate == one and rival.is_indistinguishable for rival in choice.rivals)
    place = "on the front" if one in choice.front else "beaten in both"
    return f"indistinguishable, {place}" if is_near else place


def draw_place(run: RunResult, place: PlaceChoice) -> Plot:
    """L0 against what is kept, a panel for each measure."""
    choice = place.choice
    saes = everyone(choice)
    measures: list[Measure] = ["explained_variance"]
    if any(one.ce_loss_score is not None for one in saes):
        measures.append("ce_loss_score")
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(2, 3.7)
        for panel, measure in zip(axes[0], measures, strict=False):
            draw_panel(panel, run, choice, measure)
        for panel in axes[0, len(measures) :]:
            panel.set_axis_off()
        name_marks(figure, run, choice)
        return draw(figure, alt_text(place, measures))


def draw_panel(axes: Axes, run: RunResult, choice: Choice, measure: Measure) -> None:
    """The SAEs, the front as a line, the recommended with a ring and its name."""
    left_out = {left.candidate for left in choice.left_out}
    shown = [one for one in everyone(choice) if one.l0 > 0 and math.isfinite(one.kept(measure))]
    front = pareto_front([one for one in shown if one not in left_out], measure)
    axes.plot([one.l0 for one in front], [one.kept(measure) for one in front], color="#6b7480", linewidth=1.3, zorder=1)
    for one in shown:
        number = run.architectures.index(one.architecture)
        colour = BAR_COLOURS[number % len(BAR_COLOURS)]
        axes.plot(
            one.l0, one.kept(measure), MARKERS[number % len(MARKERS)], markersize=7.5, zorder=2,
            color=colour, markerfacecolor="white" if one in left_out else colour,
            markeredgecolor=colour if one in left_out else "white", markeredgewidth=1.4 if one in left_out else 0.8,
        )  # fmt: skip
    axes.set_xlabel("L0 (active features per token, log scale)")
    axes.set_ylabel(f"{NAMES[measure]}{' (decides)' if measure == choice.measure else ''}")
    axes.margins(y=0.2)
    if shown:
        axes.set_xscale("log", base=2)
        axes.set_xlim(*octaves([one.l0 for one in shown]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    if choice.recommended is not None:
        ring(axes, choice.recommended, measure)
        if measure == choice.measure:
            equal_worth(axes, choice.recommended, choice)


def equal_worth(axes: Axes, taken: Candidate, choice: Choice) -> None:
    """A dotted line through all that would be worth the same; it must not move the limits."""
    limits = axes.get_xlim(), axes.get_ylim()
    ends = [taken.kept(choice.measure) + choice.price * math.log2(l0 / taken.l0) for l0 in limits[0]]
    axes.plot(limits[0], ends, color=INK, linewidth=1, linestyle=":", zorder=1)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def ring(axes: Axes, taken: Candidate, measure: Measure) -> None:
    """A ring and a name at the recommended SAE."""
    place = (taken.l0, taken.kept(measure))
    axes.plot(*place, "o", markersize=16, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.6, zorder=3)
    across = axes.transAxes.inverted().transform(axes.transData.transform(place))[0]
    side = "left" if across < 0.2 else "right" if across > 0.8 else "center"
    axes.annotate(
        taken.sae_id.rpartition("-")[0] or taken.sae_id, place, xytext=(0, 12), textcoords="offset points", ha=side,
        fontsize=9, fontweight="bold", color=INK, zorder=4,
    )  # fmt: skip


def octaves(values: Sequence[float]) -> tuple[float, float]:
    """Limits of a log axis around some values that hold a power of two at least, so that there is a tick."""
    low, high = math.log2(min(values)) - 0.5, math.log2(max(values)) + 0.5
    if math.ceil(low) > math.floor(high):
        low, high = math.floor(low) - 0.1, math.ceil(high) + 0.1
    return 2**low, 2**high


def name_marks(figure: Figure, run: RunResult, choice: Choice) -> None:
    """The legend: architectures, front, ring, hollow markers."""
    here = {one.architecture for one in everyone(choice)}
    handles = [
        Line2D(
            [],
            [],
            color=BAR_COLOURS[n % len(BAR_COLOURS)],
            marker=MARKERS[n % len(MARKERS)],
            linestyle="none",
            label=name,
        )
        for n, name in enumerate(run.architectures)
        if name in here
    ]
    handles.append(Line2D([], [], color="#6b7480", linewidth=1.3, label="Pareto front"))
    if choice.recommended is not None:
        handles.append(Line2D([], [], color=INK, linewidth=1, linestyle=":", label="worth the same"))
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="o",
                markersize=12,
                markerfacecolor="none",
                markeredgecolor=INK,
                label="recommended",
            )
        )
    if choice.left_out:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="o",
                markerfacecolor="white",
                markeredgecolor="#6b7480",
                label="left out",
            )
        )
    figure.legend(handles=handles, loc="outside right upper")


def alt_text(place: PlaceChoice, measures: Sequence[Measure]) -> str:
    """The plot in words."""
    choice = place.choice
    panels_named = " and ".join(
        f"{NAMES[measure]} ({side})" for measure, side in zip(measures, ("left", "right"), strict=False)
    )
    named = panels_named if len(measures) > 1 else NAMES[measures[0]]
    taken = choice.recommended
    ringed = (
        "none is recommended"
        if taken is None
        else (
            f"ringed is the recommended {taken.sae_id} at L0 {taken.l0:.1f} with {taken.kept(choice.measure):.3f} "
            f"{NAMES[choice.measure]}"
        )
    )
    return (
        f"Scatter of L0, on a log scale, against {named} for {n_saes(choice)} SAEs at {place.hook_point}, a line along the "
        f"{len(choice.front)} of the Pareto front, a dotted one through what would be "
        f"worth the same; {ringed}. The figures are in the table below."
    )
