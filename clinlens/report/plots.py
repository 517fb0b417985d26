"""The report's plots: matplotlib to SVG, the same bytes for the same figures.

One colour per hook point, from dark (early) to light (late), and one marker per architecture, on every plot. The
colours are those of viridis, which people with any kind of colour vision see in the same order. Bars that stand for
architectures have colours of their own, from the palette of Okabe and Ito 2008, so that nobody takes them for layers.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clinlens.report.gather import RunResult, SAEResult, rank_of_architecture

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "clinlens",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#6b7480",
    "text.color": "#1d232a",
    "axes.labelcolor": "#1d232a",
    "xtick.color": "#3c4650",
    "ytick.color": "#3c4650",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
MARKERS = ("o", "s", "^", "D", "v", "P")
BAR_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
WIDTH = 10.4
"""Inches; at the page's width, 9 points come out as about 13 pixels."""
POINTS_PER_LINE = 200
LEGEND_ENTRIES = 12
"""Hook points named one by one in a legend; of more, every so many."""
DENSITY_BINS = np.linspace(-6, 0, 25)
"""Edges of the histograms in log10; rarer features fall in the lowest bin."""


class Plot(NamedTuple):
    """A picture and its description."""

    src: str
    """Data URI."""
    alt: str


def draw(figure: Figure, alt: str) -> Plot:
    """Renders a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Plot("data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(), alt)


def colours(hook_points: Sequence[str]) -> dict[str, str]:
    """A colour for each hook point; the palest yellows are left out, since they vanish on white."""
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(hook_points), 1)))
    return {name: to_hex(shade) for name, shade in zip(hook_points, shades, strict=False)}


def place_legend(figure: Figure, run: RunResult, with_markers: bool) -> None:
    """Names the colours, and the markers where they are used, to the right of the panels."""
    shades = colours(run.hook_points)
    step = -(-len(shades) // LEGEND_ENTRIES)
    named = dict.fromkeys([*run.hook_points[::step], run.hook_points[-1]])
    handles = [Line2D([], [], color=shades[name], linewidth=5, label=run.short_names[name]) for name in named]
    if with_markers:
        handles += [
            Line2D([], [], color="#3c4650", marker=MARKERS[n % len(MARKERS)], linestyle="none", label=name)
            for n, name in enumerate(run.architectures)
        ]
    figure.legend(handles=handles, loc="outside right upper")


def panels(n: int, height: float, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure with n panels side by side, in one or more rows of them."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, n, squeeze=False)


def fidelity(run: RunResult) -> Plot:
    """Sparsity against explained variance, and against the CE loss score where there is one."""
    has_splice = any(sae.splice for sae in run.saes)
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(2, 3.9)
        scatter(
            axes[0, 0], run, [(sae, sae.reconstruction["explained_variance"]) for sae in run.saes if sae.reconstruction]
        )
        axes[0, 0].set_ylabel("explained variance")
        if has_splice:
            scatter(axes[0, 1], run, [(sae, sae.splice["ce_loss_score"]) for sae in run.saes if sae.splice])
            axes[0, 1].set_ylabel("CE loss score")
        else:
            axes[0, 1].set_axis_off()
        place_legend(figure, run, with_markers=True)
        measures = "explained variance (left) and CE loss score (right)" if has_splice else "explained variance"
        alt = (
            f"Scatter of L0 against {measures}, one point for each of {len(run.saes)} autoencoders; "
            "the figures are in the table of the summary."
        )
        return draw(figure, alt)


def scatter(axes: Axes, run: RunResult, points: Iterable[tuple[SAEResult, float]]) -> None:
    """One panel of the sparsity–fidelity plot."""
    shades = colours(run.hook_points)
    for sae, value in points:
        marker = MARKERS[run.architectures.index(sae.architecture) % len(MARKERS)]
        l0 = (sae.reconstruction or {})["l0"]
        axes.plot(
            l0,
            value,
            marker,
            color=shades[sae.hook_point],
            markersize=8,
            markeredgecolor="white",
            markeredgewidth=0.8,
            alpha=0.9,
        )
    axes.set_xlabel("L0 (active features per token)")
    axes.margins(0.12)


def curves(run: RunResult) -> Plot:
    """Explained variance and L0 over the tokens of training, a column for each architecture."""
    shades = colours(run.hook_points)
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(run.architectures), 4.6, rows=2)
        for column, architecture in enumerate(run.architectures):
            for row, key in enumerate(("explained_variance", "l0")):
                panel = axes[row, column]
                for sae in run.saes:
                    if sae.architecture == architecture:
                        points = thinned(sae.history)
                        panel.plot(
                            [point["n_tokens"] / 1e6 for point in points],
                            [point[key] for point in points],
                            color=shades[sae.hook_point], linewidth=1.4, marker="o" if len(points) < 3 else "", markersize=4,
                        )  # fmt: skip
                panel.set_xlim(left=0)
            axes[0, column].set_title(architecture)
            axes[1, column].set_xlabel("million tokens")
            axes[1, column].set_ylim(bottom=0)
        share_limits(axes[0])
        share_limits(axes[1])
        axes[0, 0].set_ylabel("explained variance")
        axes[1, 0].set_ylabel("L0")
        place_legend(figure, run, with_markers=False)
        alt = (
            "Training curves: explained variance (above) and L0 (below) over training tokens, a column for each of "
            f"{', '.join(run.architectures)}, a line for each autoencoder; the last values are in the table below."
        )
        return draw(figure, alt)


def thinned(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows enough to draw a line, the first and the last among them."""
    if len(rows) <= POINTS_PER_LINE:
        return rows
    return [rows[place] for place in np.linspace(0, len(rows) - 1, POINTS_PER_LINE).round().astype(int)]


def share_limits(axes: Sequence[Axes]) -> None:
    """Gives the panels of a row the widest range of any, so that they can be compared."""
    low, high = (pick(axis.get_ylim()[side] for axis in axes) for side, pick in enumerate((min, max)))
    for axis in axes:
        axis.set_ylim(low, high)


def densities(run: RunResult) -> Plot:
    """Histograms of log10 feature density, a panel for each architecture, a line for each hook point."""
    shades = colours(run.hook_points)
    live = [density for sae in run.saes for density in sae.density if density > 0]
    rarest = max(np.floor(np.log10(min(live, default=0.1))), DENSITY_BINS[0])
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(run.architectures), 3.0)
        for panel, architecture in zip(axes[0], run.architectures, strict=True):
            for sae in run.saes:
                if sae.architecture == architecture and sae.density:
                    panel.stairs(log_counts(sae.density), DENSITY_BINS, color=shades[sae.hook_point], linewidth=1.4)
            panel.set_title(architecture)
            panel.set_xlabel("log10 of feature density")
            panel.set_xlim(rarest, DENSITY_BINS[-1])
            panel.set_ylim(bottom=0)
        share_limits(axes[0])
        axes[0, 0].set_ylabel("live features")
        place_legend(figure, run, with_markers=False)
        alt = (
            "Histograms of log10 feature density on held-out tokens, dead features left out, a panel for each of "
            f"{', '.join(run.architectures)}, a line for each autoencoder; medians and dead counts are in the table below."
        )
        return draw(figure, alt)


def log_counts(density: Sequence[float]) -> np.ndarray:
    """Live features per bin of log10 density; those rarer than the lowest edge are counted in the lowest bin."""
    live = np.asarray(density, dtype=float)
    live = np.log10(live[live > 0])
    return np.histogram(live.clip(DENSITY_BINS[0], DENSITY_BINS[-1]), DENSITY_BINS)[0]


def recovery(run: RunResult) -> Plot:
    """Share of concepts recovered, a group of bars for each hook point, a bar for each kind of autoencoder."""
    by_kind = sorted(run.saes, key=lambda sae: (rank_of_architecture(sae), sae.settings))
    variants = list(dict.fromkeys(run.variants[sae.settings] for sae in by_kind))
    width = 0.8 / len(variants)
    names = [run.short_names[name] for name in run.hook_points]
    is_crowded = sum(map(len, names)) > 90
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "y"}):
        figure, axes = panels(1, 3.8 if is_crowded else 2.8)
        for number, variant in enumerate(variants):
            found = [
                (run.hook_points.index(sae.hook_point), sae.n_recovered, len(sae.found))
                for sae in run.saes
                if run.variants[sae.settings] == variant and sae.found
            ]
            places = [place + (number - (len(variants) - 1) / 2) * width for place, _, _ in found]
            shares = [100 * n / of for _, n, of in found]
            bars = axes[0, 0].bar(
                places, shares, width * 0.92, color=BAR_COLOURS[number % len(BAR_COLOURS)], label=variant
            )
            if len(run.saes) <= 24:
                axes[0, 0].bar_label(bars, [str(n) for _, n, _ in found], fontsize=8, padding=1)
        axes[0, 0].set_xticks(
            range(len(names)), names, rotation=60 if is_crowded else 0, ha="right" if is_crowded else "center"
        )
        axes[0, 0].set_ylabel("concepts recovered (%)")
        axes[0, 0].set_ylim(0, 105)
        figure.legend(loc="outside right upper")
        alt = (
            "Bars of the share of concepts recovered, a group for each hook point, a bar for each kind of autoencoder, "
            "the number above it; the same figures are in the table of the summary."
        )
        return draw(figure, alt)
