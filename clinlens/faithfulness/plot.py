"""The comparison as a picture: for every suite, how well methods order tokens, and what each was flagged for."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.faithfulness.compare import Comparison
from analysis.faithfulness.contender import RANDOM, REFERENCE

PASSED, FLAGGED, LANDMARK = "#0072b2", "#d55e00", "#8a929b"
"""Source: Okabe and Ito 2008; told apart with any kind of colour vision."""


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Writes the picture."""
    rows = max(len(one.rows) for one in comparisons)
    fig = Figure(figsize=(10.5, len(comparisons) * (0.27 * rows + 1.1)))
    axes = fig.subplots(len(comparisons), 2, squeeze=False, sharey="row")
    for (left, right), comparison in zip(axes, comparisons, strict=True):
        panel(left, comparison, "abpc", f"{comparison.suite}: area between the deletion curves (ABPC)")
        has_evidence = comparison.mean(REFERENCE, "auroc_evidence").n > 0
        figure, title = ("auroc_evidence", "AUROC at known evidence") if has_evidence else ("soft_ns", "π-Soft-NS")
        panel(right, comparison, figure, title)
        if has_evidence:
            right.axvline(0.5, color=LANDMARK, linewidth=1, linestyle=":")
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in (PASSED, FLAGGED, LANDMARK)]
    labels = ["passed", "flagged: do not believe it", "causal reference, random order"]
    fig.legend(handles, labels, ncols=3, loc="lower center", frameon=False, fontsize=9)
    fig.tight_layout(rect=(0, 0.25 / fig.get_figheight(), 1, 1))
    fig.savefig(path, dpi=130)


def panel(axis: Axes, comparison: Comparison, figure: str, title: str) -> None:
    """One figure of every method, with its interval, the best on top."""
    names = sorted(comparison.rows, key=lambda name: comparison.mean(name, "abpc").value)
    means = [comparison.mean(name, figure) for name in names]
    flags = {name: comparison.flags(name) for name in names}
    colours = [LANDMARK if name in (RANDOM, REFERENCE) else FLAGGED if flags[name] else PASSED for name in names]
    places = range(len(names))
    errors = [[one.value - one.low for one in means], [one.high - one.value for one in means]]
    axis.barh(places, [one.value for one in means], xerr=errors, color=colours, error_kw={"linewidth": 0.8}, height=0.7)
    axis.set_yticks(places, names, fontsize=8)
    axis.set_title(title, loc="left", fontsize=9.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.axvline(0, color="black", linewidth=0.8)
