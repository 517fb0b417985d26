"""What a trained autoencoder preserves of held-out activations and of the model's behaviour."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
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
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import choose
from training.config import EvaluationConfig
from training.engine import Done
from training.splice import Splice
from training.tracking import log_density_histogram

FILE = "evaluation.json"
ROWS_PER_STEP = 4096
DENSE = 0.1
"""Share of tokens above which a feature counts as dense. Source: Rajamanoharan et al. 2024, arXiv:2407.14435."""
SPARSE_SHARE = 1 / 20
"""A pass is sparse where at most this share of the features was active on the rows before. Source: measured at 512 × 8,192
with both back ends; at a sixteenth it costs what a dense one does."""
VERSION = 2
"""Of the set of figures: a file of an older one is made anew."""


class Seen(NamedTuple):
    """What an autoencoder made of some rows."""

    fired: Int[Tensor, "d_sae"]
    """Rows on which each feature is active."""
    reconstruction: Float[Tensor, "rows d_in"]
    """x̂."""


class Passes:
    """Runs an autoencoder over rows, on its active features alone as long as these are few.

    Args:
        sae: It.
        engine: For sparse passes; autoencoders may share one.
    """

    def __init__(self, sae: SAE, engine: SparseEngine) -> None:
        self.sae, self.engine = sae, engine
        self.is_sparse = sae.is_always_sparse

    def __call__(self, x: Float[Tensor, "rows d_in"]) -> Seen:
        """Of the next rows."""
        sae = self.sae
        if self.is_sparse:
            codes = sae.codes(x, self.engine)
            seen = Seen(codes.fired, codes.decode(sae.W_dec) + sae.b_dec)
        else:
            feature_acts, reconstruction = sae(x)
            seen = Seen((feature_acts > 0).sum(dim=0), reconstruction)
        self.is_sparse = int(seen.fired.sum()) <= SPARSE_SHARE * len(x) * sae.d_sae
        return seen


class Reconstruction:
    """Running sums over rows, in float64, for the figures of reconstruction and sparsity.

    - `explained_variance` is 1 − Σ‖x − x̂‖² / Σ‖x − mean‖² over all rows together, `fvu` one less that.
    - `legacy_explained_variance` is the mean over rows of 1 − ‖x − x̂‖² / ‖x − mean‖², which peers have reported under
      the other name; rows near the mean weigh most in it. Rows at the mean have no such ratio. Source:
      `explained_variance_legacy` in sae-lens' evals, which takes the mean of each batch; SAEBench issue 76.
    - `norm_ratio` is the mean of ‖x̂‖ / ‖x‖: below 1, reconstructions have shrunk.
    - `relative_reconstruction_bias` is Σ‖x̂‖² / Σ x·x̂: the factor that x̂ would have to be divided by to fit best; below
      1 means shrinkage that no wrong direction explains. Source: Rajamanoharan et al. 2024, arXiv:2404.16014, eq. 10.
    - `dense_fraction` is the share of features that fire on more than DENSE of the rows.

    All but `norm_ratio`, `cosine` and `relative_reconstruction_bias`, which look at x itself, stay the same where x and the
    autoencoder move by an offset; all but `mse` where both are scaled.

    Args:
        mean: Mean of the rows that will be added.
        d_sae: Number of features.
    """

    def __init__(self, mean: Float[Tensor, "d_in"], d_sae: int) -> None:
        self.mean = mean.double()
        self.n = self.n_apart = 0
        self.fired = torch.zeros(d_sae, dtype=torch.float64)
        self.sum_squares = self.spread = self.error = self.share_left = 0.0
        self.cosine = self.norm_ratio = self.out_squares = self.product = 0.0

    def add(self, x: Float[Tensor, "rows d_in"], seen: Seen) -> None:
        """Adds rows and what was made of them."""
        self.n += len(x)
        self.fired += seen.fired
        x, x_hat = x.double(), seen.reconstruction.double()
        error, spread = squares(x - x_hat), squares(x - self.mean)
        norm, norm_hat, product = squares(x).sqrt(), squares(x_hat).sqrt(), torch.linalg.vecdot(x, x_hat)
        is_apart = spread > 0
        self.sum_squares += float(norm.square().sum())
        self.spread += float(spread.sum())
        self.error += float(error.sum())
        self.n_apart += int(is_apart.sum())
        self.share_left += float((error[is_apart] / spread[is_apart]).sum())
        self.cosine += float((product / (norm * norm_hat).clamp_min(1e-12)).sum())
        self.norm_ratio += float((norm_hat / norm.clamp_min(1e-12)).sum())
        self.out_squares += float(norm_hat.square().sum())
        self.product += float(product.sum())

    def figures(self) -> dict[str, float]:
        """The means."""
        if self.spread <= 1e-12 * self.sum_squares:
            raise UserError(
                f"The activations of {self.n} held-out tokens do not vary, expected different ones. "
                "Choose another hook point, or hold out more documents."
            )
        return {
            "l0": float(self.fired.sum()) / self.n,
            "explained_variance": 1 - self.error / self.spread,
            "fvu": self.error / self.spread,
            "legacy_explained_variance": 1 - self.share_left / self.n_apart,
            "mse": self.error / self.n,
            "cosine": self.cosine / self.n,
            "norm_ratio": self.norm_ratio / self.n,
            "relative_reconstruction_bias": self.out_squares / self.product if self.product else float("nan"),
            "dead_fraction": float((self.fired == 0).double().mean()),
            "dense_fraction": float((self.fired > DENSE * self.n).double().mean()),
            "n_tokens": self.n,
        }

    def density(self) -> np.ndarray:
        """[d_sae] share of rows each feature fired on."""
        return (self.fired / self.n).numpy()


def squares(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows"]:
    """Sum of the squares of each row."""
    return torch.linalg.vecdot(rows, rows)


def mean_of(parts: Iterable[Float[Tensor, "rows width"]]) -> Float[Tensor, "width"]:
    """The mean row, in float64."""
    sums = [(part.double().sum(dim=0), len(part)) for part in parts]
    n_rows = sum(n for _, n in sums)
    if n_rows == 0:
        raise UserError(
            "The held-out documents have no row to measure at, expected some. Hold out more documents, or raise "
            "training.max_norm_ratio."
        )
    return torch.stack([part for part, _ in sums]).sum(dim=0) / n_rows


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
        return f"evaluate-{self.hook_point}-{artefact.content_hash(self.sae_ids, self.settings)}"

    def folder(self, sae_id: str) -> Path:
        return self.run_folder / "saes" / self.hook_point / sae_id

    @property
    def settings(self) -> dict[str, Any]:
        return self.evaluation.model_dump(mode="json") | {"version": VERSION}

    def missing(self) -> list[str]:
        """Autoencoders without an evaluation by these settings."""
        return [sae_id for sae_id in self.sae_ids if not has_settings(self.folder(sae_id) / FILE, self.settings)]

    def run(self, done: Done) -> None:
        missing = self.missing()
        if not missing:
            return
        load(self.model)  # outside: what is loaded in inference mode can never again be differentiated through
        with torch.inference_mode():
            self.evaluate({sae_id: saelens_format.load(self.folder(sae_id)) for sae_id in missing}, done)

    def evaluate(self, saes: dict[str, SAE], done: Done) -> None:
        """Measures and writes."""
        store = Store.open(self.run_folder / "acts")
        limit = norm_limit(self.folder(next(iter(saes))))
        n_tokens, exclude = self.evaluation.n_tokens, self.exclude_special_tokens
        mean = mean_of(rows(store, self.hook_point, "held_out", n_tokens, exclude, limit))
        engine = SparseEngine(choose("auto"), "auto")
        sums = {sae_id: Reconstruction(mean, sae.d_sae) for sae_id, sae in saes.items()}
        passes = {sae_id: Passes(sae, engine) for sae_id, sae in saes.items()}
        for x in rows(store, self.hook_point, "held_out", n_tokens, exclude, limit):
            for sae_id in saes:
                sums[sae_id].add(x, passes[sae_id](x))
            done(len(x))
        splice = self.splice(store, saes, mean, limit, done)
        for sae_id in saes:
            density = sums[sae_id].density()
            counts, edges = log_density_histogram(density)
            figures: dict[str, Any] = {
                "settings": self.settings,
                "reconstruction": sums[sae_id].figures(),
                "splice": None if splice is None else splice.figures(sae_id),
                "density_histogram": {"log10_edges": edges.tolist(), "counts": counts.tolist()},
                "density": [round(float(d), 8) for d in density],
            }
            artefact.write_json(self.folder(sae_id) / FILE, figures)

    def splice(
        self, store: Store, saes: dict[str, SAE], mean: Tensor, limit: float | None, done: Done
    ) -> Splice | None:
        """Runs the spliced model; none where there is no next token to predict: encoders, vision towers."""
        lm = load(self.model)
        if lm.kind != "decoder":
            return None
        splice = Splice(lm, parse(self.hook_point), saes, mean.float(), self.exclude_special_tokens, limit)
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
