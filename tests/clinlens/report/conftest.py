"""A tiny run folder, built in code: two layers, two architectures, twelve features, text that tries to break out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.examples import KINDS, Contexts, FeatureExamples, before

HOSTILE = "</script><img src=x onerror=window.broken=1>"
VOCABULARY = ["<s>", " pain", "chest", "\n", HOSTILE, " no", " fever", "é", "", "\t"]
D_SAE, WINDOW = 12, 8
HOOK_POINTS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
SAES = {"topk": "topk-x4-k2-0123abcd", "l1": "l1-x4-4567cdef"}
STAGES = (("capture", 10.0, 20.0), ("train", 30.0, 50.0), ("train", 60.0, 110.0), ("report", 1.0, 0.0))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def manifest() -> dict[str, Any]:
    origin = {
        "model": {"model": "tiny", "weight_hash": "aa11", "tokenizer_hash": "bb22", "dtype": "float32"},
        "corpus": {"name": "notes <b>of</b> a clinic", "hash": "cc33", "n_documents": 30},
        "split": {"held_out": 0.1, "seed": 0},
        "capture": {"context_tokens": 64},
    }
    dtypes = dict.fromkeys(HOOK_POINTS, "float16")
    shards = [
        {"split": split, "n_tokens": n, "n_documents": n // 100, "dtypes": dtypes}
        for split, n in (("train", 2000), ("train", 1000), ("held_out", 500))
    ]
    return {"store_id": "dd44", "origin": origin, "hook_points": dict.fromkeys(HOOK_POINTS, 16), "shards": shards}


def examples(seed: int, is_encoder: bool) -> FeatureExamples:
    rng = np.random.default_rng(seed)
    density = rng.uniform(0.01, 0.2, D_SAE).astype(np.float32)
    density[3] = 0
    largest = np.where(density > 0, rng.uniform(1, 4, D_SAE), 0).astype(np.float32)
    contexts = {}
    for kind, n in zip(KINDS, (3, 2, 1), strict=True):
        fires = kind != "contrast"
        activation = np.repeat(largest[:, None], n, axis=1) * np.linspace(1, 0.5, n, dtype=np.float32) * fires
        document = np.where(density[:, None] > 0, rng.integers(0, 30, (D_SAE, n)), -1).astype(np.int32)
        token_id = rng.integers(0, len(VOCABULARY), (D_SAE, n, WINDOW)).astype(np.int32)
        token_id[:, 0, before(WINDOW)] = 4
        token_id[:, 0, :2] = -1
        acts = np.zeros((D_SAE, n, WINDOW), np.float16)
        acts[:, :, before(WINDOW)] = activation
        zeros = np.zeros((D_SAE, n), np.int32)
        is_held_out = (document % 2 == 0).astype(np.uint8)
        contexts[kind] = Contexts(activation, document, zeros, is_held_out, zeros, zeros, token_id, acts)
    ids = rng.integers(0, len(VOCABULARY), (D_SAE, 2)).astype(np.int32)
    values = np.tile(np.float32([1.25, 0.5]), (D_SAE, 1))
    names = ("top_id", "top_value", "bottom_id", "bottom_value")
    logits = {} if is_encoder else dict(zip(names, (ids, values, ids, -values), strict=True))
    return FeatureExamples(density, largest, contexts, logits)


def write_sae(folder: Path, architecture: str, layer: int, is_encoder: bool, has_concepts: bool) -> None:
    settings = {"architecture": architecture, "expansion_factor": 4}
    training = {"n_tokens": 3000, "lr": 0.001}
    rows = {"kept": 2900, "special": 100, "outlier": 0}
    origin = {"sae": settings, "training": training, "seed": 7, "store_id": "dd44", "rows": rows, "torch": "2.0"}
    write_json(folder / "origin.json", origin)
    write_json(folder / "cfg.json", {"d_in": 16, "d_sae": D_SAE, "metadata": {"sae_lens_version": "6"}})
    curve = [
        {"n_tokens": 1000 * n, "l0": 5.0 - n, "explained_variance": 0.2 * n, "dead_fraction": 0.0} for n in (1, 2, 3)
    ]
    write_json(folder / "metrics.json", curve[-1])
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve), encoding="utf-8")
    reconstruction = {
        "l0": 2.0 + layer,
        "explained_variance": 0.8 - 0.1 * layer,
        "cosine": 0.9,
        "dead_fraction": 1 / 12,
    }
    splice = {"ce_clean": 1.5, "ce_spliced": 1.75, "ce_zero": 4.0, "ce_loss_score": 0.9, "kl": 0.25}
    density = [0.0, *np.linspace(0.001, 0.2, D_SAE - 1).tolist()]
    evaluation = {"reconstruction": reconstruction, "splice": None if is_encoder else splice, "density": density}
    write_json(folder / "evaluation.json", evaluation)
    if has_concepts:
        found = {
            "fever": {"feature": 5, "auroc": 0.97, "auroc_in_choice": 0.99, "n_mentions": 40},
            f"pain {HOSTILE}": {"feature": 8, "auroc": 0.71, "auroc_in_choice": 0.8, "n_mentions": 20},
        }
        probes = {"auroc": 0.8125, "low": 0.75, "high": 0.875}
        probing = {"n_concepts": 2, "features": {"1": probes, "10": probes | {"auroc": 0.85}}, "model": probes}
        figures = {
            "probing": probing,
            "n_concepts": 2,
            "n_recovered": 1,
            "too_few_mentions": ["gout"],
            "concepts": found,
        }
        write_json(folder / "concepts.json", {"settings": {"auroc": 0.95}} | figures)


def build(run: Path, is_encoder: bool = False, has_concepts: bool = True, has_resources: bool = True) -> Path:
    """Writes a run folder."""
    write_json(run / "acts" / "manifest.json", manifest())
    (run / "config.yaml").write_text("seed: 7\nmodel: {name: tiny}\n", encoding="utf-8")
    for layer, hook_point in enumerate(HOOK_POINTS):
        for number, (architecture, sae_id) in enumerate(SAES.items()):
            write_sae(run / "saes" / hook_point / sae_id, architecture, layer, is_encoder, has_concepts)
            examples(10 * layer + number, is_encoder).write(run / "examples" / hook_point / f"{sae_id}.h5", "")
    write_json(run / "examples" / "vocabulary.json", VOCABULARY)
    if has_resources:
        machine = {"cpu": "a processor", "n_cores": 2, "memory_bytes": 2**33, "gpu": None, "platform": "Linux"}
        machine |= {"python": "3.12.0", "torch": "2.0", "clinlens": "0.1.0"}
        stages = [
            {"stage": stage, "started": f"2026-01-02T03:0{n}:00+00:00", "wall_s": wall, "cpu_s": cpu, "gpu_s": 0.0}
            | {"peak_bytes": 2**30 + n}
            for n, (stage, wall, cpu) in enumerate(STAGES)
        ]
        write_json(run / "resources.json", {"machine": machine, "stages": stages})
    return run


@pytest.fixture(scope="session")
def build_run() -> Callable[..., Path]:
    """Builds a run folder, with or without its optional parts."""
    return build


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything in it; not to be changed."""
    return build(tmp_path_factory.mktemp("report") / "tiny-run")
