"""What a benchmark prints: settings, tables, one JSON object, and a plot."""

import argparse
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.rounds import Figure, spread
from training.resources import machine

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Told apart by the colour-blind. Source: Paul Tol's bright scheme, personal.sron.nl/~pault."""

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass
class Table:
    """A table beside the figures; its first column is the x axis of its plot, its second the y axis."""

    title: str
    columns: list[str]
    rows: list[list[float]]

    def lines(self) -> list[str]:
        """The table as text."""
        head = "".join(f"{name:>22}" for name in self.columns)
        return ["", self.title, head, *("".join(f"{value:>22,.4g}" for value in row) for row in self.rows)]


@dataclass
class Bars:
    """What several sides need or reach, drawn side by side; the numbers themselves are among the peers."""

    title: str
    values: dict[str, dict[str, float]]
    """By group, and in it by side; a group may lack a side."""

    @property
    def sides(self) -> list[str]:
        """All of them, in the order of their first group."""
        return list(dict.fromkeys(side for group in self.values.values() for side in group))


@dataclass
class Report:
    """Everything one run of a benchmark found."""

    settings: list[str] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)
    """What a figure should be, in words."""
    figures: dict[str, Figure] = field(default_factory=dict)
    peers: dict[str, float] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)

    def say(self, line: str) -> None:
        """One more setting or remark; that it is reached shows at once, since the rest may take minutes."""
        self.settings.append(line)
        print(
            f"{time.process_time():.0f} s of processor time: {line.split(':', maxsplit=1)[0]}",
            file=sys.stderr,
            flush=True,
        )

    def lines(self) -> list[str]:
        """The report as text."""
        found = [f"{'figure':36}{'median':>10}{'quartiles':>20}   target"]
        for name, figure in self.figures.items():
            quartiles = f"{figure.low:.3f} – {figure.high:.3f}"
            found.append(f"{name:36}{figure.value:>10.3f}{quartiles:>20}   {self.targets.get(name, '')}")
        found += ["", *(f"{name:56}{value:>16,.4g}" for name, value in self.peers.items())]
        return [*self.settings, "", *found, *(line for table in self.tables for line in table.lines())]

    def deliver(self, arguments: argparse.Namespace) -> None:
        """Prints what was asked for; with --json the text goes to stderr and the object is the last line of stdout."""
        print("\n".join(self.lines()), file=sys.stderr if arguments.json else sys.stdout, flush=True)
        if arguments.plot is not None:
            self.plot(arguments.plot)
        if arguments.json:
            figures = {name: figure.value for name, figure in self.figures.items()}
            print(json.dumps({"figures": figures, "peers": self.peers, "machine": machine()}))

    def plot(self, path: Path) -> None:
        """Bars of the figures, with their quartiles, those of sides beside one another, and a line for each table."""
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        n_panels, n_most = 1 + len(self.bars) + len(self.tables), max([len(self.figures), *map(height_of, self.bars)])
        size = (5.5 * n_panels, max(4.0, 0.22 * n_most + 1))
        fig, axes = pyplot.subplots(1, n_panels, figsize=size, squeeze=False, layout="constrained")
        first, *others = axes[0]
        draw_figures(first, self.figures)
        for axis, bars in zip(others, self.bars, strict=False):
            draw_bars(axis, bars)
        for axis, table in zip(others[len(self.bars) :], self.tables, strict=True):
            draw_table(axis, table)
        fig.savefig(path, dpi=120)
        pyplot.close(fig)


def draw_figures(axis: Any, figures: dict[str, Figure]) -> None:
    """Each with its quartiles, beside a line at 1."""
    from matplotlib.patheffects import withStroke

    values = list(figures.values())
    errors = [[f.value - f.low for f in values], [f.high - f.value for f in values]]
    axis.barh(list(figures), [f.value for f in values], xerr=errors, color=COLOURS[0])
    for number, figure in enumerate(values):
        text = axis.annotate(f" {figure.value:.3g}", (max(figure.high, 0), number), va="center", zorder=3)
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axis.axvline(1, color="black", linewidth=1)
    axis.invert_yaxis()
    axis.set_xscale("symlog", linthresh=1)
    axis.xaxis.set_major_formatter("{x:g}")
    least, most = min([0.0, *(f.low for f in values)]), max([1.0, *(f.high for f in values)])
    axis.set_xlim(1.3 * least, most + 0.6 if most < 2 else 4 * most)  # room for the numbers
    axis.set_title("Figures")


def draw_bars(axis: Any, bars: Bars) -> None:
    """One for each side of each group, groups apart."""
    sides, colours = bars.sides, dict(zip(bars.sides, itertools.cycle(COLOURS)))
    place, middles = 0.0, list[float]()
    for group in bars.values.values():
        for side, value in group.items():
            axis.barh(place, value, height=0.9, color=colours[side])
            axis.annotate(f" {value:,.4g}", (max(value, 0), place), va="center", fontsize=8)
            place += 1
        middles.append(place - 0.5 - len(group) / 2)
        place += 0.7
    axis.set_yticks(middles, list(bars.values))
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(bars.title)
    from matplotlib.patches import Patch

    handles = [Patch(color=colours[side], label=side) for side in sides]
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, frameon=False, fontsize=8)


def draw_table(axis: Any, table: Table) -> None:
    """Its second column over its first."""
    top = 1.1 * max(row[1] for row in table.rows)
    axis.plot([row[0] for row in table.rows], [row[1] for row in table.rows], marker="o", color=COLOURS[0])
    axis.set(title=table.title.split(":")[0], xlabel=table.columns[0], ylabel=table.columns[1], ylim=(0, top))


def height_of(bars: Bars) -> float:
    """Room that it takes, in bars."""
    return sum(len(group) + 0.7 for group in bars.values.values())


def arguments_of(description: str | None, parts: tuple[str, ...] = ()) -> argparse.Namespace:
    """What every benchmark takes; one of several parts can be asked for alone."""
    return parser_of(description, parts).parse_args()


def parser_of(description: str | None, parts: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """The same, for a benchmark that takes more."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, under a minute")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object, last line of stdout")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw the figures (and, in the full form, how cost grows)"
    )
    if parts:
        parser.add_argument("--part", choices=parts, help="this part alone; all of them if not given")
    return parser


def rate(values: list[float], amount: float) -> float:
    """Amount per second in the middle round."""
    return amount / spread(values).value
