"""The ribbon's geometry, by hand."""

from pathlib import Path

import pytest

from clinlens.desk.pages.ribbon import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, down, ribbon
from tests.clinlens.desk.pages.premises import write_trace


def test_an_auroc_of_one_stands_at_the_top_and_what_is_below_the_axis_at_its_foot():
    assert down(1.0) == TOP
    assert down(0.4) == down(0.1) == HEIGHT - BOTTOM
    assert down(0.7) == pytest.approx((TOP + HEIGHT - BOTTOM) / 2)


def test_every_detector_has_a_mark_at_every_layer_with_its_interval(tmp_path: Path):
    drawn = ribbon(write_trace(tmp_path))
    assert [line.kind for line in drawn.lines] == ["best_feature", "probe_5", "dense_probe", "bag_of_words"]
    assert all(len(line.points) == 2 for line in drawn.lines)
    first = drawn.lines[0].points[1]
    assert first.y == pytest.approx(down(0.9))
    assert (first.low, first.high) == (pytest.approx(down(0.86)), pytest.approx(down(0.94)))
    assert first.text == "best single feature, layer 1: AUROC 0.900 (0.860 to 0.940)"


def test_marks_of_one_layer_stand_beside_each_other(tmp_path: Path):
    drawn = ribbon(write_trace(tmp_path))
    places = [line.points[0].x for line in drawn.lines]
    assert len(set(places)) == 4
    assert sum(places) / 4 == pytest.approx(drawn.layers[0].at)


def test_the_null_band_reaches_from_edge_to_edge_at_its_limit(tmp_path: Path):
    corners = ribbon(write_trace(tmp_path)).band.split()
    assert corners[0] == f"{LEFT:.1f},{down(0.66):.1f}"
    assert corners[-2:] == [f"{WIDTH - RIGHT},{HEIGHT - BOTTOM}", f"{LEFT},{HEIGHT - BOTTOM}"]


def test_a_scan_without_a_null_has_no_band(tmp_path: Path):
    record = write_trace(tmp_path)
    for layer in record["layers"]:
        layer["null"] = None
    assert ribbon(record).band == ""
