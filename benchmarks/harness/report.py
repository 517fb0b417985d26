"""What a benchmark prints: settings, tables, one JSON object, and a plot."""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.rounds import Figure, spread
from training.resources import machine

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
class Report:
    """Everything one run of a benchmark found."""

    settings: list[str] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)
    """What a figure should be, in words."""
    figures: dict[str, Figure] = field(default_factory=dict)
    peers: dict[str, float] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

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
        """Bars of the figures, with their quartiles, and a line for each table."""
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        fig, axes = pyplot.subplots(1, 1 + len(self.tables), figsize=(5 * (1 + len(self.tables)), 4), squeeze=False)
        bars, *lines = axes[0]
        values = list(self.figures.values())
        errors = [[f.value - f.low for f in values], [f.high - f.value for f in values]]
        bars.barh(list(self.figures), [f.value for f in values], xerr=errors, color="#4477aa")
        for number, figure in enumerate(values):
            bars.annotate(f" {figure.value:.2f}", (max(figure.high, 0), number), va="center")
        bars.margins(x=0.25)
        bars.axvline(1, color="black", linewidth=1)
        bars.invert_yaxis()
        bars.set_xscale("symlog", linthresh=1)
        for axis, table in zip(lines, self.tables, strict=True):
            top = 1.1 * max(row[1] for row in table.rows)
            axis.plot([row[0] for row in table.rows], [row[1] for row in table.rows], marker="o", color="#4477aa")
            axis.set(
                title=table.title.split(":")[0],
                xlabel=table.columns[0],
                ylabel=table.columns[1],
                ylim=(0, top),
            )
        fig.tight_layout()
        fig.savefig(path, dpi=120)
        pyplot.close(fig)


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
