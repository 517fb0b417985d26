"""A finished run without a model: examples, origin and weights of one small autoencoder."""

import json
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from analysis.examples import Contexts, FeatureExamples, before
from sae import artefact

HOOK_POINT, SAE_ID = "blocks.1.hook_resid_post", "topk-x4-k2-0a1b2c3d"
WINDOW, D_SAE = 8, 90
WORDS = (
    "<s>",
    "chest",
    " pain",
    " aspirin",
    " troponin",
    " the",
    " female",
    " fever",
    ".",
    " lung",
    "<script>alert(1)</script>",
)


def contexts(kind: str, n: int, random: np.random.Generator) -> Contexts:
    """Windows that begin before the text's start where it is short, as they do in a run."""
    shape = (D_SAE, n)
    token_id = random.integers(1, len(WORDS), (*shape, WINDOW)).astype(np.int32)
    token_id[:, 0, :2] = -1
    peak = before(WINDOW)
    token_id[..., peak] = (np.arange(D_SAE) % (len(WORDS) - 1) + 1)[:, None]
    acts = np.zeros((*shape, WINDOW), np.float16)
    if kind != "contrast":
        acts[..., peak] = np.linspace(3, 1, n, dtype=np.float16)
    document = (np.arange(D_SAE)[:, None] * 20 + np.arange(n) + {"top": 0, "quantile": 2, "contrast": 10}[kind]).astype(
        np.int32
    )
    zeros = np.zeros(shape, np.int32)
    return Contexts(
        acts.max(axis=-1).astype(np.float32), document, zeros, zeros.astype(bool), zeros, zeros, token_id, acts
    )


def write(folder: Path) -> Path:
    """Writes the run."""
    random = np.random.default_rng(0)
    kinds = {kind: contexts(kind, n, random) for kind, n in (("top", 4), ("quantile", 4), ("contrast", 4))}
    logits = {name: np.zeros((D_SAE, 3), np.int32 if name.endswith("id") else np.float32)
              for name in ("top_id", "top_value", "bottom_id", "bottom_value")}  # fmt: skip
    examples = FeatureExamples(np.full(D_SAE, 0.01, np.float32), np.full(D_SAE, 3, np.float32), kinds, logits)
    examples.write(folder / "examples" / HOOK_POINT / f"{SAE_ID}.h5", "settings")
    artefact.write_json(folder / "examples" / "vocabulary.json", WORDS)
    sae = folder / "saes" / HOOK_POINT / SAE_ID
    sae.mkdir(parents=True)
    decoder = random.standard_normal((D_SAE, 64)).astype(np.float32)
    decoder[1] = decoder[0] * 2
    save_file({"W_dec": decoder}, sae / "sae_weights.safetensors")
    store = {"model": {"model": "clinic", "weight_hash": "m"}, "corpus": {"name": "clinic", "hash": "c"}}
    (sae / "origin.json").write_text(json.dumps({"store": store}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"examples": {"n_quantiles": 2}}))
    return folder
