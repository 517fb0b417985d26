"""How much the benchmark of training measures, whole and in its quick form."""

from typing import Any, NamedTuple

from benchmarks.harness.trainers import Shape


class Size(NamedTuple):
    """How much is measured."""

    steps: Shape
    n_rounds: int
    quality: Shape
    quality_steps: tuple[int, ...]
    """Where quality is measured; the last one is the end."""
    n_grid_steps: int
    quickstart: dict[str, Any]
    synth_steps: int


FULL = Size(Shape(512, 16, 32, 4096), 5, Shape(128, 8, 16, 1024), (600, 2400, 3000), 60, {}, 3000)
QUICK = Size(
    Shape(128, 8, 16, 512),
    3,
    Shape(64, 4, 8, 256),
    (40,),
    6,
    {"clinic": {"n_notes": 120}, "training": {"n_tokens": 20_000}, "engine": {"kind": "inline"}},
    20,
)
