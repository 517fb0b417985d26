"""Examples of a real store: tokens, places and values belong together."""

from pathlib import Path

import numpy as np
import torch

from analysis.concept_recovery import Recover, find_units
from analysis.config import ConceptsConfig, ExamplesConfig
from analysis.examples import KINDS, FeatureExamples, before
from analysis.gather import GatherExamples
from analysis.units import BACKGROUND
from hooks import capture, corpus
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.model import load
from hooks.store import Store
from sae import saelens_format
from sae.config import TopKConfig
from training.config import TrackingConfig, TrainingConfig
from training.fit import fit
from training.spec import Fit

POINT = "blocks.2.hook_resid_post"


def gathered(tiny_model: Path, tiny_corpus: Path, folder: Path) -> tuple[GatherExamples, FeatureExamples, Store]:
    model = ModelConfig(name=str(tiny_model))
    job = Job(
        model,
        CorpusConfig(name=str(tiny_corpus)),
        CaptureConfig(hook_points=(POINT,), shard_tokens=300, context_tokens=16),
        0,
    )
    plan = capture.prepare(job, corpus.read(job.corpus), load(model), folder / "acts")
    for part in plan.tasks(1):
        part.run(lambda _: None)
    store = capture.conclude(plan)
    training = TrainingConfig(n_tokens=32 * 40, batch_tokens=32, lr=5e-3)
    task = Fit(folder, POINT, TopKConfig(expansion_factor=2, k=6), training, 0, store.id, 1)
    fit(task, TrackingConfig(wandb="disabled"), lambda _: None)
    work = GatherExamples(folder, POINT, task.sae_id, model, ExamplesConfig(window_tokens=8, n_logits=3), 0)
    work.run(lambda _: None)
    return work, FeatureExamples.read(work.path), store


def test_every_context_says_what_the_store_and_the_sae_say(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    work, found, store = gathered(tiny_model, tiny_corpus, tmp_path)
    docs = corpus.read(CorpusConfig(name=str(tiny_corpus)))
    sae = saelens_format.load(tmp_path / "saes" / POINT / work.sae_id)
    where = {
        int(number): (reader, int(np.flatnonzero(reader.index["document"] == number)[0]), side)
        for side in ("train", "held_out")
        for reader in store.shards(side)
        for number in np.unique(reader.index["document"])
    }
    assert len(found.live) > 20
    for kind in KINDS:
        contexts = found.contexts[kind]
        for feature in found.live[:20]:
            for n in np.flatnonzero(contexts.document[feature] >= 0):
                reader, first, side = where[int(contexts.document[feature, n])]
                row = first + int(contexts.position[feature, n])
                assert bool(contexts.is_held_out[feature, n]) == (side == "held_out")
                tokens = contexts.token_id[feature, n]
                assert reader.index["token_id"][row] in tokens
                with torch.inference_mode():
                    value = float(sae.encode(reader.acts(POINT, row, row + 1))[0, feature])
                if kind == "contrast":
                    assert contexts.acts[feature, n].max() == 0
                else:
                    assert abs(value - contexts.activation[feature, n]) < 1e-3
                    assert abs(contexts.acts[feature, n, before(8)] - value) < 2e-3 * value + 1e-3
                text = docs[int(contexts.document[feature, n])].text
                shown = text[int(contexts.char_start[feature, n]) : int(contexts.char_end[feature, n])]
                assert len(shown.split()) == int((tokens > 3).sum())


def test_gathering_again_gives_the_same_bytes_and_a_finished_file_is_left_alone(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path
):
    work, found, _ = gathered(tiny_model, tiny_corpus, tmp_path)
    before = work.path.read_bytes()
    work.run(lambda _: (_ for _ in ()).throw(AssertionError("it searched again")))
    work.path.unlink()
    work.run(lambda _: None)
    assert work.path.read_bytes() == before
    assert found.logits["top_id"].shape == (64, 3)


def test_a_units_score_is_the_features_largest_value_on_its_tokens(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    work, _, store = gathered(tiny_model, tiny_corpus, tmp_path)
    docs = corpus.read(CorpusConfig(name=str(tiny_corpus), span_column="spans"))
    units = tuple(find_units(store, docs, seed=0))
    scores = Recover(tmp_path, POINT, (work.sae_id,), ConceptsConfig(), units, 0).scores(store, work.sae_id)
    sae = saelens_format.load(tmp_path / "saes" / POINT / work.sae_id)
    shards = store.shards("held_out")
    assert {unit.label for unit in units} == {"fever", BACKGROUND}
    for unit, score in zip(units, scores, strict=True):
        reader = shards[unit.shard]
        with torch.inference_mode():
            expected = sae.encode(reader.acts(POINT, unit.start, unit.stop)).amax(0).numpy()
        assert np.allclose(score, expected, atol=1e-5)
        text = docs[int(reader.index["document"][unit.start])].text
        covered = text[reader.index["char_start"][unit.start] : reader.index["char_end"][unit.stop - 1]]
        assert (covered == "fever") == (unit.label == "fever")


def test_a_units_activation_is_the_mean_over_its_words(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    work, _, store = gathered(tiny_model, tiny_corpus, tmp_path)
    docs = corpus.read(CorpusConfig(name=str(tiny_corpus), span_column="spans"))
    units = tuple(find_units(store, docs, seed=0))
    found = Recover(tmp_path, POINT, (work.sae_id,), ConceptsConfig(), units, 0).activations(store)
    shards = store.shards("held_out")
    for unit, values in zip(units, found, strict=True):
        expected = shards[unit.shard].acts(POINT, unit.start, unit.stop).mean(dim=0).numpy()
        assert np.allclose(values, expected, atol=1e-5)
