"""Which features are listed, and that their packed form holds what was measured."""

import base64
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.examples import FeatureExamples
from clinlens.report.config import ReportConfig
from clinlens.report.features import LEVELS, choose, feature, leb128, payload, shares, zigzag
from clinlens.report.gather import read_run


def numbers(data: bytes) -> list[int]:
    """The natural numbers in LEB128, written independently of the packing."""
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            found.append(value)
            value, shift = 0, 0
    return found


@given(st.lists(st.integers(0, 2**40)))
def test_packed_numbers_read_back(values: list[int]):
    assert numbers(leb128(values)) == values


def test_zigzag_follows_its_table():
    assert [zigzag(value) for value in (0, -1, 1, -2, 2)] == [0, 1, 2, 3, 4]


def test_features_of_concepts_come_before_random_ones():
    concepts = {90: [("fever", 0.9)], 3: [("cough", 0.99)], 50: [("rash", 0.7)]}
    assert choose(concepts, np.arange(100), 2, seed=0) == [3, 90]
    assert {3, 50, 90} <= set(choose(concepts, np.arange(100), 10, seed=0))


def test_the_sample_is_of_live_features_and_repeats_with_its_seed():
    live = np.arange(0, 1000, 2)
    first = choose({}, live, 20, seed=1)
    assert len(set(first)) == 20
    assert set(first) <= set(live)
    assert first == choose({}, live, 20, seed=1) != choose({}, live, 20, seed=2)


def test_contexts_are_thinned_in_proportion_and_no_kind_vanishes():
    found = {"top": 40, "quantile": 50, "contrast": 2}
    assert shares(found, ReportConfig(contexts_per_feature=92)) == found
    assert shares(found, ReportConfig(contexts_per_feature=23)) == {"top": 10, "quantile": 12, "contrast": 1}


def test_a_context_keeps_its_peak_when_it_is_cut(run: Path):
    examples = FeatureExamples.read(next(run.glob("examples/*/*.h5")))
    cfg = ReportConfig(tokens_per_context=4)
    for index in examples.live:
        top = feature(int(index), examples, [], cfg).contexts["top"][0]
        assert len(top.tokens) <= 4
        assert top.levels[top.peak] == top.level == LEVELS


def test_the_stream_holds_tokens_and_activations_of_every_context(run: Path):
    result = read_run(run)
    data = payload(result, ReportConfig())
    examples = FeatureExamples.read(result.saes[0].examples or run)
    sae = data["saes"][0]
    stream = iter(numbers(base64.b64decode(sae["stream"])))
    for index in sae["index"]:
        for side in ("top", "bottom"):
            for place in range(next(stream)):
                token, value = data["vocabulary"][next(stream)], next(stream)
                assert token == result.vocabulary[examples.logits[f"{side}_id"][index, place]]
                value = -(value + 1) / 2 if value % 2 else value / 2
                assert value / data["logit_steps"] == pytest.approx(examples.logits[f"{side}_value"][index, place])
        for kind in data["kinds"]:
            contexts = examples.contexts[kind]
            for place in range(next(stream)):
                document, peak, is_held_out, level = (next(stream) for _ in range(4))
                tokens = [data["vocabulary"][next(stream)] for _ in range(next(stream))]
                active = {next(stream): next(stream) for _ in range(next(stream))}
                ids = contexts.token_id[index, place]
                assert tokens == [result.vocabulary[token] for token in ids if token >= 0]
                assert (document, bool(is_held_out)) == (
                    contexts.document[index, place],
                    contexts.is_held_out[index, place],
                )
                assert active == ({peak: level} if level else {})
    assert next(stream, None) is None


def test_only_texts_in_use_are_embedded(run: Path):
    vocabulary = payload(read_run(run), ReportConfig())["vocabulary"]
    assert len(vocabulary) == len(set(vocabulary)) <= 10
