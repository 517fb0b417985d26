"""The store holds what the model says, survives kills, and refuses what it should."""

import errno
import json
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hooks import capture, corpus, passage, shard
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.hook_points import HookPoint
from hooks.model import load
from hooks.shard import ShardReader
from hooks.store import Store
from sae.errors import UserError
from tests.tiny import write_tiny_model

ALL = torch.ones(10, dtype=torch.bool)
POINTS = ("blocks.*.hook_resid_post", "blocks.1.attn.hook_z")


def nothing(_amount: int) -> None:
    """No progress bar."""


def job_of(model: Path, notes: Path, **settings: Any) -> Job:
    values: dict[str, Any] = {"hook_points": POINTS, "context_tokens": 16, "shard_tokens": 200, "dtype": "float32"}
    return Job(
        ModelConfig(name=str(model)),
        CorpusConfig(name=str(notes), group_column="patient", span_column="spans"),
        CaptureConfig(**(values | settings)),
        seed=0,
    )


def make(job: Job, folder: Path) -> Store:
    docs = corpus.read(job.corpus)
    plan = capture.prepare(job, docs, load(job.model), folder)
    for task in plan.tasks(1):
        task.run(nothing)
    return capture.conclude(plan)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_row_is_the_models_value_for_its_document_and_position(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path
):
    job = job_of(tiny_model, tiny_corpus)
    store, lm, docs = make(job, tmp_path), load(job.model), corpus.read(job.corpus)
    point = HookPoint(2, "hook_resid_post")
    seen: set[int] = set()
    for reader in store.shards("train") + store.shards("held_out"):
        for number in np.unique(reader.index["document"]):
            rows = np.flatnonzero(reader.index["document"] == number)
            assert reader.index["position"][rows].tolist() == list(range(len(rows)))
            words = docs[int(number)].text.split()
            ids = [1, *lm.tokenizer.convert_tokens_to_ids(words)][:16]
            assert reader.index["token_id"][rows[:16]].tolist() == ids
            assert reader.index["is_special"][rows[0]] == 1
            value = passage.record(lm, [point], torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))[point][
                0
            ]
            stored = reader.acts(str(point), int(rows[0]), int(rows[0]) + len(ids))
            assert (stored - value).abs().max() <= 1e-5
            seen.add(int(number))
    assert seen == set(range(60))


def test_h5py_alone_reads_what_the_reader_reads(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    store = make(job_of(tiny_model, tiny_corpus), tmp_path)
    entry = store.manifest["shards"][0]
    reader = ShardReader(tmp_path / entry["file"])
    with h5py.File(tmp_path / entry["file"]) as file:
        for point, width in store.hook_points.items():
            acts = file[f"acts/{point}"]
            assert acts.shape == (entry["n_tokens"], width)  # type: ignore[union-attr]
            assert np.array_equal(acts[3:9], reader.acts(point, 3, 9).numpy())  # type: ignore[index]
            assert np.allclose(np.linalg.norm(acts[...], axis=1), reader.norm(point), rtol=1e-5)  # type: ignore[index]
        assert file.attrs["complete"]
        assert file.attrs["weight_hash"] == store.origin["model"]["weight_hash"]


def test_the_two_sides_share_no_document_and_no_text(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    job = job_of(tiny_model, tiny_corpus)
    store, docs = make(job, tmp_path), corpus.read(job.corpus)
    train, held_out = (
        {docs[int(n)].text for r in store.shards(s) for n in r.index["document"]} for s in ("train", "held_out")
    )
    assert train
    assert held_out
    assert not train & held_out


@pytest.mark.parametrize("lost", ["shard-00001.h5", "shard-00001.json", "manifest.json"])
def test_what_a_kill_left_out_is_made_again_with_the_same_bytes(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, lost: str
):
    job = job_of(tiny_model, tiny_corpus)
    make(job, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed" / "manifest.json").unlink()
    (tmp_path / "killed" / lost).unlink(missing_ok=True)
    (tmp_path / "killed" / ".shard-00001.h5.1234.part").write_bytes(b"half")
    docs = corpus.read(job.corpus)
    missing = capture.prepare(job, docs, load(job.model), tmp_path / "killed").missing
    assert len(missing) == (0 if lost == "manifest.json" else 1)
    make(job, tmp_path / "killed")
    (tmp_path / "killed" / ".shard-00001.h5.1234.part").unlink()
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")


def test_a_damaged_shard_is_named_and_alone_made_anew(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    job = job_of(tiny_model, tiny_corpus)
    store = make(job, tmp_path)
    before = contents(tmp_path)
    path = tmp_path / "shard-00000.h5"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert store.verify() == ["shard-00000.h5"]
    docs = corpus.read(job.corpus)
    assert capture.finished(job, docs, tmp_path) is not None, "a look at names and sizes shows nothing"
    assert capture.finished(job, docs, tmp_path, thorough=True) is None
    assert [part.number for part in capture.prepare(job, docs, load(job.model), tmp_path).missing] == [0]
    make(job, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("harm", ["lost", "cut"])
def test_a_lost_or_cut_shard_is_seen_at_a_glance(tiny_model: Path, tiny_corpus: Path, tmp_path: Path, harm: str):
    job = job_of(tiny_model, tiny_corpus)
    make(job, tmp_path)
    path = tmp_path / "shard-00001.h5"
    path.unlink() if harm == "lost" else path.write_bytes(path.read_bytes()[:-1])
    assert capture.finished(job, corpus.read(job.corpus), tmp_path) is None
    with pytest.raises(UserError, match=r"lacks 1 of \d+ shards or parts of them \(the first is shard-00001.h5\)"):
        Store.open(tmp_path)


def test_a_store_of_another_format_is_one_sentence(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    make(job_of(tiny_model, tiny_corpus), tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["origin"]["format_version"] = 1
    del manifest["shards"][0]["n_bytes"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        UserError, match=r"is an activation store of format 1, expected 2\. Run `clinlens capture` into another"
    ):
        Store.open(tmp_path)


def test_portions_of_any_size_end_in_the_same_bytes(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    job = job_of(tiny_model, tiny_corpus)
    make(job, tmp_path / "one")
    plan = capture.prepare(job, corpus.read(job.corpus), load(job.model), tmp_path / "many")
    tasks = plan.tasks(10**6)
    assert [len(task.parts) for task in tasks] == [1] * plan.n_shards
    assert len({task.id for task in tasks}) == plan.n_shards
    for task in reversed(tasks):
        task.run(nothing)
        task.run(lambda _amount, task=task: None)  # a second time does nothing
    capture.conclude(plan)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_rows_are_found_by_document_and_position(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    store = make(job_of(tiny_model, tiny_corpus), tmp_path)
    point = "blocks.1.hook_resid_post"
    documents, positions = np.array([40, 3, 40, 3]), np.array([5, 0, 4, 1])
    rows = store.rows(point, documents, positions)
    for row, document, position in zip(rows, documents, positions, strict=True):
        assert torch.equal(row, store.document(point, int(document))[position])
    shard_of = {
        int(n): reader for s in ("train", "held_out") for reader in store.shards(s) for n in reader.index["document"]
    }
    reader = shard_of[40]
    where = int(np.flatnonzero((reader.index["document"] == 40) & (reader.index["position"] == 5))[0])
    assert torch.equal(rows[0], reader.acts(point, where, where + 1)[0])
    with pytest.raises(UserError, match="has no document 1000"):
        store.rows(point, np.array([1000]), np.array([0]))
    with pytest.raises(UserError, match=r"positions 0 to \d+, but 99 was asked for"):
        store.rows(point, np.array([3]), np.array([99]))


def test_the_sums_of_a_capture_are_those_of_its_words(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    store = make(job_of(tiny_model, tiny_corpus), tmp_path)
    point = "blocks.2.hook_resid_post"
    words = torch.cat(
        [r.acts(point, 0, r.n_tokens)[torch.from_numpy(~r.is_special)] for r in store.shards("train")]
    ).double()
    found = store.statistics(point, "train")
    assert found.n == len(words)
    assert np.allclose(found.mean, words.mean(dim=0))
    assert np.isclose(found.mean_norm, float(words.norm(dim=1).mean()))
    assert np.isclose(found.variance, float((words - words.mean(dim=0)).square().sum(dim=1).mean()))


def test_the_bridge_as_a_backend_gives_the_same_rows(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    ours = make(job_of(tiny_model, tiny_corpus), tmp_path / "hooks")
    theirs = make(job_of(tiny_model, tiny_corpus, backend="bridge"), tmp_path / "bridge")
    assert theirs.id != ours.id
    for point in ours.hook_points:
        for a, b in zip(ours.shards("train"), theirs.shards("train"), strict=True):
            assert (a.acts(point, 0, a.n_tokens) - b.acts(point, 0, b.n_tokens)).abs().max() <= 5e-6


def test_a_model_the_bridge_does_not_know_is_refused(tiny_corpus: Path, tmp_path: Path):
    job = job_of(write_tiny_model(tmp_path / "model", "biogpt"), tiny_corpus, backend="bridge")
    with pytest.raises(UserError, match=r"TransformerLens cannot open .* Use capture.backend=hooks"):
        make(job, tmp_path / "acts")


def test_overlapping_windows_give_each_word_its_context_once(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "notes.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": f"patient {n} has fever and pain . no cough ." * 2}) for n in range(8))
    )
    job = job_of(tiny_model, path, context_tokens=8, overlap_tokens=3)._replace(corpus=CorpusConfig(name=str(path)))
    store, lm, docs = make(job, tmp_path / "acts"), load(job.model), corpus.read(job.corpus)
    ids = lm.tokenizer(docs[0].text, add_special_tokens=False)["input_ids"]
    bos = lm.tokenizer.bos_token_id
    point = HookPoint(2, "hook_resid_post")
    seconds = [bos, *ids[4:7], *ids[7:11]]  # the second window: BOS, three words again, four of its own
    expected = passage.record(lm, [point], torch.tensor([seconds]), torch.ones(1, 8, dtype=torch.int64))[point][0]
    rows = store.document(str(point), 0)
    assert (rows[8] - expected[0]).abs().max() <= 1e-5
    assert (rows[9:13] - expected[4:]).abs().max() <= 1e-5
    reader = next(r for s in ("train", "held_out") for r in store.shards(s) if 0 in r.index["document"])
    mine = (reader.index["document"] == 0) & ~reader.is_special
    assert reader.index["token_id"][mine].tolist() == ids


def test_an_overlap_as_long_as_the_window_is_refused(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"overlap_tokens=7, but a window holds only 7 words"):
        make(job_of(tiny_model, tiny_corpus, context_tokens=8, overlap_tokens=7), tmp_path)


def test_another_model_may_not_write_into_a_store(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    make(job_of(tiny_model, tiny_corpus), tmp_path / "acts")
    other = job_of(write_tiny_model(tmp_path / "other", "qwen2", seed=1), tiny_corpus)
    docs = corpus.read(other.corpus)
    with pytest.raises(UserError, match="holds the activations of another model, corpus or capture setting"):
        capture.finished(other, docs, tmp_path / "acts")
    (tmp_path / "acts" / "manifest.json").unlink()
    with pytest.raises(UserError, match="Give this run another `folder`, or delete that one"):
        capture.prepare(other, docs, load(other.model), tmp_path / "acts")


def test_a_finished_store_is_found_without_loading_the_model(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = job_of(tiny_model, tiny_corpus)
    make(job, tmp_path)
    monkeypatch.setattr("hooks.model.load_weights", lambda *_: pytest.fail("the model was loaded"))
    load.cache_clear()
    assert capture.finished(job, corpus.read(job.corpus), tmp_path) is not None


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "float16"), ("auto", "float16"), ("bfloat16", "bfloat16")])
def test_number_formats_round_as_they_should(dtype: str, stored: str, tmp_path: Path):
    acts = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    found = shard.encode(acts, dtype, "x", ALL)
    assert found.dtype == stored
    index = {name: np.zeros(10, np.int32) for name in shard.INDEX_COLUMNS}
    shard.write(tmp_path / "s.h5", index, {"x": found}, {})
    expected = acts.half().float() if stored == "float16" else acts.bfloat16().float()
    assert torch.equal(ShardReader(tmp_path / "s.h5").acts("x", 2, 7), expected[2:7])


def test_a_bfloat16_model_is_kept_without_loss():
    acts = torch.randn(10, 4).bfloat16()
    found = shard.encode(acts, "auto", "x", ALL)
    assert torch.equal(torch.from_numpy(found.values).view(torch.bfloat16), acts)


def test_what_a_bfloat16_model_says_is_in_the_store_bit_for_bit(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    job = job_of(tiny_model, tiny_corpus, dtype="auto", batch_tokens=16)  # one window a batch: no padding
    job = job._replace(model=ModelConfig(name=str(tiny_model), dtype="bfloat16"))
    store, lm, point = make(job, tmp_path), load(job.model), HookPoint(2, "hook_resid_post")
    assert {dtype for entry in store.manifest["shards"] for dtype in entry["dtypes"].values()} == {"bfloat16"}
    for reader in store.shards("train"):
        for start, stop in pairwise(reader.document_bounds):
            ids = torch.from_numpy(reader.index["token_id"][start : min(stop, start + 16)]).long()[None]
            value = passage.record(lm, [point], ids, torch.ones_like(ids))[point][0]
            assert value.dtype == torch.bfloat16
            assert torch.equal(reader.acts(str(point), start, start + ids.shape[1]), value.float())


def test_auto_falls_back_to_float32_where_float16_overflows():
    assert shard.encode(torch.tensor([[70_000.0, 1.0]]), "auto", "x", ALL[:1]).dtype == "float32"


def test_float16_overflow_is_an_error_when_float16_was_asked_for():
    with pytest.raises(UserError) as error:
        shard.encode(torch.tensor([[70_000.0, 1.0]]), "float16", "blocks.0.hook_resid_post", ALL[:1])
    assert str(error.value) == (
        "The activations at blocks.0.hook_resid_post reach 7e+04, but float16 ends at 65504. "
        "Set capture.dtype to auto, float32 or bfloat16."
    )


def test_activations_that_are_no_numbers_are_an_error():
    with pytest.raises(UserError, match=r"not finite \(row 1 of the shard\), expected numbers"):
        shard.encode(torch.tensor([[1.0], [torch.nan]]), "auto", "x", ALL[:2])


def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(capture.shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    job = job_of(tiny_model, tiny_corpus)
    with pytest.raises(UserError, match=r"need about .* GB, but the disk of .* has 0.0 GB free"):
        capture.prepare(job, corpus.read(job.corpus), load(job.model), tmp_path / "acts")
    assert list((tmp_path / "acts").iterdir()) == []


def test_a_disk_that_fills_up_leaves_whole_shards_and_says_so(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = job_of(tiny_model, tiny_corpus)
    plan = capture.prepare(job, corpus.read(job.corpus), load(job.model), tmp_path)
    first, second, *_ = plan.tasks(10**6)
    first.run(nothing)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard.artefact, "publish_hashed", full)
    with pytest.raises(UserError, match=r"is full; the shards before shard-00001.h5 are whole. Free some space"):
        second.run(nothing)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.h5", "shard-00000.json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 300 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: that needs to be root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_real_disk_that_fills_up_leaves_whole_shards_and_goes_on_when_there_is_room(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, small_disk: Path
):
    job = job_of(tiny_model, tiny_corpus)
    lm, docs = load(job.model), corpus.read(job.corpus)
    (everything,) = capture.plan(job, docs, lm, small_disk).tasks(1)
    with pytest.raises(UserError, match=r"The disk of .* is full; the shards before shard-0000\d.h5 are whole\. Free"):
        everything.run(nothing)
    left = capture.plan(job, docs, lm, small_disk)
    assert 0 < len(left.missing) < left.n_shards
    assert not list(small_disk.glob(".*.part"))
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    make(job, small_disk)
    make(job, tmp_path / "roomy")
    assert contents(small_disk) == contents(tmp_path / "roomy")


def test_documents_that_are_too_short_are_counted_not_quoted(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "notes.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("fever and pain", "", "cough")))
    job = job_of(tiny_model, path)
    job = job._replace(corpus=CorpusConfig(name=str(path)))
    docs = corpus.read(job.corpus)
    with pytest.raises(UserError) as error:
        capture.prepare(job, docs, load(job.model), tmp_path / "acts")
    assert str(error.value) == (
        "2 of 3 documents have fewer than 2 tokens (the first is row 1), expected text in each. "
        "Remove them, or set corpus.short_documents=skip."
    )


def test_stored_values_equal_transformer_lens(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    from hooks.crosscheck import transformer_lens_difference

    job = job_of(tiny_model, tiny_corpus)
    differences = transformer_lens_difference(make(job, tmp_path), load(job.model))
    assert set(differences) == {*(f"blocks.{n}.hook_resid_post" for n in range(3)), "blocks.1.attn.hook_z"}
    assert all(value is not None and value <= 5e-6 for value in differences.values())
