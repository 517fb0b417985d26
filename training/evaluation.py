"""What a trained autoencoder preserves of held-out activations and of the model's behaviour."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooks.config import CaptureConfig, ModelConfig
from hooks.corpus import Split
from hooks.hook_points import parse
from hooks.model import LanguageModel, load
from hooks.store import Store
from hooks.windows import Batch, Tokens, batches, documents_of, frame_of
from sae import artefact, saelens_format
from sae.base import SAE
from sae.errors import UserError
from training.config import EvaluationConfig
from training.engine import Done
from training.splice import Splice

FILE = "evaluation.json"
ROWS_PER_STEP = 4096


class Reconstruction:
    """Running sums over rows, in float64, for the figures of reconstruction and sparsity.

    Explained variance is 1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖² over all rows together. (A mean of per-row or per-batch
    ratios is another number; peers have reported it under this name.)
    """

    def __init__(self, d_in: int, d_sae: int) -> None:
        self.n = 0
        self.fired = torch.zeros(d_sae, dtype=torch.float64)
        self.sum = torch.zeros(d_in, dtype=torch.float64)
        self.sum_squares = self.error = self.cosine = self.norm_ratio = 0.0

    def add(self, x: Float[Tensor, "rows d_in"], sae: SAE) -> None:
        """Adds rows."""
        feature_acts, reconstruction = sae(x)
        self.n += len(x)
        self.fired += (feature_acts > 0).sum(dim=0)
        self.sum += x.double().sum(dim=0)
        self.sum_squares += float(x.double().square().sum())
        self.error += float((x - reconstruction).double().square().sum())
        self.cosine += float(torch.nn.functional.cosine_similarity(x, reconstruction, dim=1).double().sum())
        norms = x.norm(dim=1).clamp_min(1e-12)
        self.norm_ratio += float((reconstruction.norm(dim=1) / norms).double().sum())

    def figures(self) -> dict[str, float]:
        """The means."""
        total = self.sum_squares - float(self.sum.square().sum()) / max(self.n, 1)
        if total <= 1e-12 * self.sum_squares:
            raise UserError(
                f"The activations of {self.n} held-out tokens do not vary, expected different ones. "
                "Choose another hook point, or hold out more documents."
            )
        return {
            "l0": float(self.fired.sum()) / self.n,
            "explained_variance": 1 - self.error / total,
            "fvu": self.error / total,
            "mse": self.error / self.n,
            "cosine": self.cosine / self.n,
            "norm_ratio": self.norm_ratio / self.n,
            "dead_fraction": float((self.fired == 0).double().mean()),
            "n_tokens": self.n,
        }

    def density(self) -> np.ndarray:
        """[d_sae] share of rows each feature fired on."""
        return (self.fired / self.n).numpy()


@dataclass(frozen=True)
class Evaluate:
    """Evaluates all autoencoders of one hook point; one file for each, beside its weights."""

    run_folder: Path
    hook_point: str
    sae_ids: tuple[str, ...]
    model: ModelConfig
    evaluation: EvaluationConfig
    exclude_special_tokens: bool

    @property
    def name(self) -> str:
        return f"the evaluation at {self.hook_point}"

    @property
    def id(self) -> str:
        return (
            f"evaluate-{self.hook_point}-{artefact.content_hash(self.sae_ids, self.evaluation.model_dump(mode='json'))}"
        )

    def folder(self, sae_id: str) -> Path:
        return self.run_folder / "saes" / self.hook_point / sae_id

    @property
    def settings(self) -> dict[str, Any]:
        return self.evaluation.model_dump(mode="json")

    def missing(self) -> list[str]:
        """Autoencoders without an evaluation by these settings."""
        return [sae_id for sae_id in self.sae_ids if not has_settings(self.folder(sae_id) / FILE, self.settings)]

    def run(self, done: Done) -> None:
        missing = self.missing()
        if not missing:
            return
        with torch.inference_mode():
            self.evaluate({sae_id: saelens_format.load(self.folder(sae_id)) for sae_id in missing}, done)

    def evaluate(self, saes: dict[str, SAE], done: Done) -> None:
        """Measures and writes."""
        store = Store.open(self.run_folder / "acts")
        sums = {sae_id: Reconstruction(sae.d_in, sae.d_sae) for sae_id, sae in saes.items()}
        limit = norm_limit(self.folder(next(iter(saes))))
        for x in rows(store, self.hook_point, "held_out", self.evaluation.n_tokens, self.exclude_special_tokens, limit):
            for sae_id, sae in saes.items():
                sums[sae_id].add(x, sae)
            done(len(x))
        splice = self.splice(store, saes, limit, done)
        for sae_id in saes:
            figures: dict[str, Any] = {
                "settings": self.settings,
                "reconstruction": sums[sae_id].figures(),
                "splice": None if splice is None else splice.figures(sae_id),
                "density": [round(float(d), 8) for d in sums[sae_id].density()],
            }
            artefact.write_json(self.folder(sae_id) / FILE, figures)

    def splice(self, store: Store, saes: dict[str, SAE], limit: float | None, done: Done) -> Splice | None:
        """Runs the spliced model; none where there is no next token to predict: encoders, vision towers."""
        lm = load(self.model)
        if lm.kind != "decoder":
            return None
        splice = Splice(lm, parse(self.hook_point), saes, self.exclude_special_tokens, limit)
        for batch in held_out_batches(store, lm, self.evaluation.splice_tokens):
            splice.add(batch)
            done(int(batch.attention_mask.sum()))
        return splice


def has_settings(path: Path, settings: dict[str, Any]) -> bool:
    """Whether a result is there and was made with these settings."""
    return path.is_file() and artefact.read_json(path)["settings"] == settings


def norm_limit(folder: Path) -> float | None:
    """The norm above which an autoencoder was trained on no rows; none if there was no limit."""
    return artefact.read_json(folder / "origin.json")["norm_limit"]


def rows(
    store: Store, hook_point: str, split: Split, most_rows: int, exclude_special: bool, limit: float | None = None
) -> Iterator[Float[Tensor, "rows width"]]:
    """Rows of a split in the store's order, special tokens and rows of outlying norm left out as in training."""
    left = most_rows
    for shard in store.shards(split):
        norm = shard.norm(hook_point)
        for start in range(0, shard.n_tokens, ROWS_PER_STEP):
            if left <= 0:
                return
            stop = min(start + ROWS_PER_STEP, shard.n_tokens)
            keep = ~shard.is_special[start:stop] | (not exclude_special)
            keep &= norm[start:stop] <= (np.inf if limit is None else limit)
            x = shard.acts(hook_point, start, stop)[torch.from_numpy(keep)][:left]
            left -= len(x)
            yield x


def held_out_batches(store: Store, lm: LanguageModel, most_tokens: int) -> Iterator[Batch]:
    """Windows of held-out documents, as they were captured, until there are tokens enough."""
    left = most_tokens
    cfg = CaptureConfig(**store.origin["capture"])
    frame = frame_of(lm, cfg)
    for shard in store.shards("held_out"):
        kept: list[Tokens] = []
        for doc in documents_of(shard):
            if left <= 0:
                break
            kept.append(doc)
            left -= len(doc.token_id)
        yield from batches(kept, frame, min(cfg.batch_tokens, 4096), lm.tokenizer.pad_token_id or 0)
        if left <= 0:
            return
