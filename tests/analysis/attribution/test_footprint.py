"""A measurement of memory may stand inside another."""

import numpy as np
import torch

from analysis.attribution.footprint import Footprint

CPU = torch.device("cpu")
MIB = 2**20


def test_a_peak_before_an_inner_measurement_is_the_outer_ones_and_not_the_inner_ones():
    outer = Footprint(CPU)
    taken = np.ones(30_000_000)  # 229 MiB
    del taken
    inner = Footprint(CPU)
    assert inner.extra_bytes() < 100 * MIB
    assert outer.extra_bytes() > 200 * MIB


def test_a_peak_inside_an_inner_measurement_is_both_ones():
    outer, inner = Footprint(CPU), Footprint(CPU)
    taken = np.ones(30_000_000)
    del taken
    assert inner.extra_bytes() > 200 * MIB
    assert outer.extra_bytes() > 200 * MIB
