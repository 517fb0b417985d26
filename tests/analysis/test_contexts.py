"""The one-pass search finds what a search over all rows at once finds, in any blocks."""

import numpy as np
import pytest
import torch

from analysis.config import ExamplesConfig
from analysis.contexts import Search
from analysis.examples import before

CFG = ExamplesConfig(window_tokens=8, n_top=3, n_quantiles=4, n_per_quantile=1, n_contrasts=2)
D_SAE = 6


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sparse activations of 50 documents of different lengths, with their document and position."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 40, (50,), generator=generator)
    document = torch.repeat_interleave(torch.arange(50), lengths)
    position = torch.cat([torch.arange(int(n)) for n in lengths])
    acts = torch.rand(len(document), D_SAE, generator=generator)
    acts = torch.where(torch.rand(acts.shape, generator=generator) < 0.1, acts, 0.0)
    acts[:, 5] = 0.0
    return acts, document, position


def searched(rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor], documents_per_block: int) -> Search:
    acts, document, position = rows
    search = Search(D_SAE, CFG, seed=0)
    for first in range(0, 50, documents_per_block):
        place = ((document >= first) & (document < first + documents_per_block)).nonzero()[:, 0]
        block = slice(int(place[0]), int(place[-1]) + 1)
        counted = torch.ones(len(place), dtype=torch.bool)
        search.add(acts[block], document[block], position[block], counted, block.start)
    return search


@pytest.mark.parametrize("documents_per_block", [1, 7, 50])
def test_the_strongest_contexts_are_those_of_a_full_sort(rows, documents_per_block: int):
    acts, document, position = rows
    search = searched(rows, documents_per_block)
    window = document * 1000 + position // 8
    for feature in range(D_SAE):
        best: dict[int, tuple[float, int]] = {}
        for row, value in enumerate(acts[:, feature].tolist()):
            if value > best.get(int(window[row]), (0.0, -1))[0]:
                best[int(window[row])] = (value, row)
        expected = sorted(best.values(), reverse=True)[:3]
        found = [
            (value, row)
            for key, value, row in zip(
                search.top.key[feature].tolist(),
                search.top.activation[feature].tolist(),
                search.top.row[feature].tolist(),
                strict=True,
            )
            if np.isfinite(key)
        ]
        assert found == expected


def test_values_around_a_peak_are_the_features_own_and_stop_at_the_documents_ends(rows):
    acts, document, _ = rows
    search = searched(rows, 7)
    for feature in range(5):
        peak = int(search.top.row[feature, 0])
        for offset, value in enumerate(search.top.around[feature, 0].tolist()):
            row = peak - before(8) + offset
            inside = 0 <= row < len(acts) and document[row] == document[peak]
            assert value == pytest.approx(float(acts[row, feature]) if inside else 0.0, abs=1e-3)


def test_contrasts_are_windows_in_which_the_feature_is_silent(rows):
    acts, document, _ = rows
    search = searched(rows, 7)
    for feature in range(D_SAE):
        for row in search.silent.row[feature].tolist():
            shown = slice(max(row - before(8), 0), row - before(8) + 8)
            assert acts[shown, feature][document[shown] == document[row]].max() == 0


def test_a_dead_feature_has_no_context_and_no_density(rows):
    search = searched(rows, 7)
    assert search.fired[5] == 0
    assert not torch.isfinite(search.top.key[5]).any()
    assert (search.quantiles().row[5] == -1).all()


def test_quantile_contexts_spread_over_the_features_whole_range(rows):
    quantiles = searched(rows, 7).quantiles()
    for feature in range(5):
        values = quantiles.activation[feature][quantiles.row[feature] >= 0]
        assert values.tolist() == sorted(values.tolist(), reverse=True)
        assert values[0] > 0.7
        assert values[-1] < 0.45


def test_density_counts_tokens(rows):
    search = searched(rows, 7)
    assert search.fired.tolist() == (rows[0] > 0).sum(0).tolist()
    assert search.n_rows == len(rows[0])
