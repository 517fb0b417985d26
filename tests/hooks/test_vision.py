"""A vision tower's patches are rows of the store like a text's tokens, and bit-equal to what the tower says."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.gather import words
from hooks import capture, corpus, passage
from hooks.architecture import place_of
from hooks.backend import open_bridge
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.crosscheck import transformer_lens_difference
from hooks.hook_points import EMBED, HookPoint
from hooks.model import LanguageModel, load
from hooks.store import Store
from sae.errors import UserError
from tests.tiny import TOWER_SETTINGS, write_images, write_tiny_tower

POST = HookPoint(1, "hook_resid_post")


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("towers")
    return {kind: write_tiny_tower(folder / kind, kind) for kind in TOWER_SETTINGS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_images(folder, 24)
    return folder


def opened(folder: Path, **settings: Any) -> LanguageModel:
    return load(ModelConfig(name=str(folder), **settings))


def job_of(model: Path, cfg: CorpusConfig, **settings: Any) -> Job:
    values: dict[str, Any] = {
        "hook_points": (str(POST), "blocks.0.attn.hook_z"),
        "batch_tokens": 40,
        "dtype": "float32",
    }
    return Job(ModelConfig(name=str(model)), cfg, CaptureConfig(**(values | {"shard_tokens": 100} | settings)), seed=0)


def make(job: Job, folder: Path) -> Store:
    plan = capture.prepare(job, corpus.read(job.corpus), load(job.model), folder)
    for task in plan.tasks(1):
        task.run(lambda _amount: None)
    return capture.conclude(plan)


def all_points(lm: LanguageModel) -> list[HookPoint]:
    return [HookPoint(None, EMBED)] + [HookPoint(layer, kind) for layer in range(3) for kind in lm.family.places]


@pytest.mark.parametrize("kind", TOWER_SETTINGS)
def test_values_are_bit_equal_to_plain_forward_hooks(towers: dict[str, Path], kind: str):
    lm = opened(towers[kind])
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain: dict[HookPoint, torch.Tensor] = {}
    handles = []
    for point in all_points(lm):
        module, side = place_of(point, lm.family, lm.base)

        def keep(_module, args, kwargs, output, point=point, side=side):
            value = (args[0] if args else kwargs["hidden_states"]) if side == "input" else output
            plain[point] = (value[0] if isinstance(value, tuple) else value).detach().clone()

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    with torch.no_grad():
        hidden = lm.base(pixel_values=pixels, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    values = passage.look(lm, all_points(lm), pixels)
    assert lm.processor is not None
    for point, value in values.items():
        assert torch.equal(value.reshape(plain[point].shape), plain[point]), point
        assert value.shape[:2] == (2, lm.processor.grid.n_rows), point
    for layer in range(2):
        assert torch.equal(values[HookPoint(layer, "hook_resid_post")], hidden[layer + 1])


@pytest.mark.parametrize("kind", TOWER_SETTINGS)
def test_attention_and_mlp_add_up_to_the_stream(towers: dict[str, Path], kind: str):
    lm = opened(towers[kind])
    value = passage.look(lm, all_points(lm), torch.randn(1, 3, 16, 16))
    for layer in range(3):
        pre, attn, mid, mlp, post = (
            value[HookPoint(layer, f"hook_{name}")]
            for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
        )
        assert (pre + attn - mid).abs().max() < 1e-5
        assert (mid + mlp - post).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_every_row_is_the_towers_value_for_its_image_and_patch(
    towers: dict[str, Path], pictures: Path, tmp_path: Path, kind: str
):
    job = job_of(towers[kind], CorpusConfig(name=str(pictures), held_out=0.2))
    store, lm, docs = make(job, tmp_path), load(job.model), corpus.read(job.corpus)
    assert lm.processor is not None
    n_rows, has_cls = (17, True) if kind == "clip" else (16, False)
    seen: set[int] = set()
    for reader in store.shards("train") + store.shards("held_out"):
        for start in range(0, reader.n_tokens, n_rows):
            rows = slice(start, start + n_rows)
            (number,) = set(reader.index["document"][rows].tolist())
            assert (
                reader.index["token_id"][rows].tolist()
                == reader.index["position"][rows].tolist()
                == list(range(n_rows))
            )
            assert reader.index["is_special"][rows].tolist() == [int(has_cls)] + [0] * (n_rows - 1)
            assert (reader.index["char_start"][rows] == -1).all()
            assert (reader.index["char_end"][rows] == -1).all()
            image = docs[number].image
            assert image is not None
            pixels = lm.processor.pixel_values([Image.open(image.path)])
            value = passage.look(lm, [POST], pixels)[POST][0]
            assert (reader.acts(str(POST), start, start + n_rows) - value).abs().max() <= 1e-5
            seen.add(number)
    assert seen == set(range(24))
    assert len(store.manifest["shards"]) >= 3
    assert capture.finished(job, docs, tmp_path) is not None
    assert set(transformer_lens_difference(store, lm).values()) == {None}


def test_equal_images_stay_on_one_side_and_the_hash_is_of_their_bytes(pictures: Path, tmp_path: Path):
    docs = corpus.read(CorpusConfig(name=str(pictures)))
    assert corpus.bundles(docs) == [*range(23), 0]
    for seed in range(20):
        sides = corpus.split(docs, 0.4, seed)
        assert sides[0] == sides[23]
    copy = shutil.copytree(pictures, tmp_path / "copy")
    assert corpus.corpus_hash(corpus.read(CorpusConfig(name=str(copy)))) == corpus.corpus_hash(docs)
    (copy / "005.png").write_bytes((copy / "006.png").read_bytes())
    assert corpus.corpus_hash(corpus.read(CorpusConfig(name=str(copy)))) != corpus.corpus_hash(docs)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_table_names_images_beside_it_with_their_patients(pictures: Path, tmp_path: Path, ending: str):
    import pandas as pd

    shutil.copytree(pictures, tmp_path / "png")
    frame = pd.DataFrame({"file": ["png/000.png", "png/001.png"], "patient": ["a", "a"], "scan": ["x", "y"]})
    path = tmp_path / f"scans.{ending}"
    match ending:
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case "csv":
            frame.to_csv(path, index=False)
        case "parquet":
            frame.to_parquet(path)
    cfg = CorpusConfig(name=str(path), image_column="file", id_column="scan", group_column="patient")
    docs = corpus.read(cfg)
    assert [doc.id for doc in docs] == ["x", "y"]
    assert [doc.image.path.name for doc in docs if doc.image] == ["000.png", "001.png"]
    assert corpus.bundles(docs) == [0, 0]


def test_patches_are_called_by_line_and_column(towers: dict[str, Path]):
    assert words(opened(towers["clip"]))[:6] == ["[CLS]", " r1c1", " r1c2", " r1c3", " r1c4", " r2c1"]
    assert words(opened(towers["siglip"]))[-1] == " r4c4"
    assert len(words(opened(towers["siglip"]))) == 16


def test_the_image_processor_counts_in_the_stores_name(towers: dict[str, Path], pictures: Path, tmp_path: Path):
    folder = shutil.copytree(towers["vit"], tmp_path / "vit")
    cfg = CorpusConfig(name=str(pictures))
    docs = corpus.read(cfg)
    before = capture.store_id(job_of(folder, cfg).origin(docs))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.4, 0.4, 0.4]}))
    assert capture.store_id(job_of(folder, cfg).origin(docs)) != before


def refused(cfg: CorpusConfig) -> str:
    with pytest.raises(UserError) as error:
        corpus.read(cfg)
    assert "smith" not in str(error.value)
    return str(error.value)


def test_what_is_no_image_is_named_by_its_row(tmp_path: Path):
    write_images(tmp_path, 2)
    (tmp_path / "zsmith.png").write_bytes(b"no image")
    assert refused(CorpusConfig(name=str(tmp_path))).startswith(
        "The image of row 2 cannot be read (UnidentifiedImageError), expected a whole image file"
    )


def test_sixteen_bits_and_several_frames_are_not_guessed_at(tmp_path: Path):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "smith.png")
    assert "row 0 has more than 8 bits per channel (mode I;16), expected 8" in refused(CorpusConfig(name=str(tmp_path)))
    (tmp_path / "smith.png").unlink()
    frames = [Image.new("L", (8, 8), value) for value in (0, 9)]
    frames[0].save(tmp_path / "smith.tif", save_all=True, append_images=frames[1:])
    assert "row 0 holds 2 frames, expected one." in refused(CorpusConfig(name=str(tmp_path)))


def test_a_file_that_is_not_there_is_named_by_its_row(tmp_path: Path):
    path = tmp_path / "scans.jsonl"
    path.write_text(json.dumps({"file": "smith.png"}))
    assert f"Row 0 of {str(path)!r} names no file in column 'file'" in refused(
        CorpusConfig(name=str(path), image_column="file")
    )


def test_a_folder_without_images_says_what_it_expects(tmp_path: Path):
    assert "has no files, expected files of one kind of" in refused(CorpusConfig(name=str(tmp_path)))


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_an_image_that_is_damaged_or_changed_stops_the_capture(towers: dict[str, Path], tmp_path: Path, harm: str):
    paths = write_images(tmp_path / "smith", 4)
    if harm == "cut":
        paths[1].write_bytes(paths[1].read_bytes()[:-400])
    job = job_of(towers["clip"], CorpusConfig(name=str(tmp_path / "smith"), held_out=0.3))
    docs = corpus.read(job.corpus)
    plan = capture.prepare(job, docs, load(job.model), tmp_path / "acts")
    if harm == "changed":
        paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(UserError, match="The image of row 1 ") as error:
        plan.tasks(1)[0].run(lambda _amount: None)
    assert "smith" not in str(error.value)


def test_images_for_a_language_model_and_texts_for_a_tower_are_refused(
    towers: dict[str, Path], tiny_model: Path, tiny_corpus: Path, pictures: Path, tmp_path: Path
):
    with pytest.raises(UserError, match=r"reads text, but the corpus holds images. Name a corpus of texts, or choose"):
        make(job_of(tiny_model, CorpusConfig(name=str(pictures)), context_tokens=16), tmp_path / "a")
    with pytest.raises(
        UserError, match=r"reads images, but the corpus holds texts. Name a folder of images as corpus.n"
    ):
        make(job_of(towers["clip"], CorpusConfig(name=str(tiny_corpus))), tmp_path / "b")


def test_a_kind_that_is_not_the_models_is_refused(towers: dict[str, Path], tiny_model: Path):
    assert opened(towers["vit"], kind="vision").kind == "vision"
    with pytest.raises(UserError, match=r"model.kind is 'encoder', but .* is of type 'clip', which reads images"):
        opened(towers["clip"], kind="encoder")
    with pytest.raises(UserError, match=r"model.kind is 'vision', but .* is of type 'qwen2', which reads text"):
        opened(tiny_model, kind="vision")


def test_the_bridge_is_refused(towers: dict[str, Path]):
    with pytest.raises(
        UserError, match=r"TransformerLens' bridge reads text and .* reads images. Use capture.backend=ho"
    ):
        open_bridge(opened(towers["clip"]))


def test_a_folder_without_image_processor_is_refused(towers: dict[str, Path], tmp_path: Path):
    folder = shutil.copytree(towers["clip"], tmp_path / "clip")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(
        UserError, match=r"has no image processor that transformers can load \(OSError\), expected prep"
    ):
        opened(folder)


@pytest.mark.parametrize("changes", [{"do_center_crop": False}, {"crop_size": {"height": 12, "width": 12}}])
def test_a_processor_of_another_size_is_refused(tmp_path: Path, changes: dict[str, Any]):
    folder = write_tiny_tower(tmp_path / "clip", "clip", **changes)
    with pytest.raises(UserError, match=r"expected one size for all, in whole patches of 4×4: 16×16. Correct size and"):
        opened(folder)


def test_a_dinov2_reads_another_size_than_it_was_trained_on(tmp_path: Path):
    lm = opened(
        write_tiny_tower(tmp_path / "dino", "dinov2", size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    )
    assert lm.processor is not None
    assert lm.processor.grid == (6, 6, True)
    assert passage.look(lm, [POST], lm.processor.blank)[POST].shape == (1, 37, 32)
