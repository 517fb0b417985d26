"""The pass over the store that fills the feature examples of one autoencoder."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.config import ExamplesConfig
from analysis.contexts import Kept, Search
from analysis.examples import Contexts, FeatureExamples, before, settings_of
from analysis.logit_lens import LogitEffects, logit_effects
from hooks.config import ModelConfig
from hooks.model import LanguageModel, load
from hooks.shard import INDEX_COLUMNS
from hooks.store import Store
from sae import artefact, saelens_format
from training.engine import Done
from training.evaluation import norm_limit

ROWS_PER_STEP = 4096
SCRATCH_BYTES = 256 * 2**20
"""Feature activations of one block, at most, as far as documents allow."""


class Block(NamedTuple):
    """Whole documents of one shard."""

    x: Tensor
    """[rows, d_in]."""
    columns: dict[str, np.ndarray]
    """Their rows of the store's index columns."""
    is_held_out: bool


@dataclass(frozen=True)
class GatherExamples:
    """Makes the examples of one autoencoder."""

    run_folder: Path
    hook_point: str
    sae_id: str
    model: ModelConfig
    examples: ExamplesConfig
    seed: int

    @property
    def name(self) -> str:
        return f"the examples of {self.hook_point} {self.sae_id}"

    @property
    def id(self) -> str:
        return f"examples-{self.hook_point}-{self.sae_id}-{self.settings}"

    @property
    def path(self) -> Path:
        return self.run_folder / "examples" / self.hook_point / f"{self.sae_id}.h5"

    @property
    def settings(self) -> str:
        return artefact.content_hash(self.examples.model_dump(mode="json"), self.seed)

    @property
    def is_complete(self) -> bool:
        return settings_of(self.path) == self.settings

    def run(self, done: Done) -> None:
        if self.is_complete:
            return
        store = Store.open(self.run_folder / "acts")
        sae = saelens_format.load(self.run_folder / "saes" / self.hook_point / self.sae_id)
        search = Search(sae.d_sae, self.examples, self.seed)
        columns: list[dict[str, np.ndarray]] = []
        n_rows = 0
        with torch.inference_mode():
            step = max(min(ROWS_PER_STEP, SCRATCH_BYTES // (4 * sae.d_sae)), 64)
            limit = norm_limit(self.run_folder / "saes" / self.hook_point / self.sae_id)
            for block in blocks(store, self.hook_point, self.examples.n_tokens, step):
                counted = torch.from_numpy(block.columns["is_special"] == 0)
                counted &= block.x.norm(dim=1) <= (torch.inf if limit is None else limit)
                acts = sae.encode(block.x) * counted[:, None]
                document, position = (torch.from_numpy(block.columns[name]).long() for name in ("document", "position"))
                search.add(acts, document, position, counted, n_rows)
                columns.append(block.columns | {"is_held_out": np.full(len(acts), block.is_held_out)})
                n_rows += len(acts)
                done(len(acts))
            effects = logit_effects(load(self.model), self.hook_point, sae.W_dec, self.examples.n_logits)
        index = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
        examples(search, index, effects, self.examples.window_tokens).write(self.path, self.settings)


def blocks(store: Store, hook_point: str, most_tokens: int, rows_per_step: int) -> Iterator[Block]:
    """Whole documents in blocks, held-out ones first, until there are tokens enough."""
    left = most_tokens
    for split in ("held_out", "train"):
        for shard in store.shards(split):
            for start, stop in document_blocks(shard.document_bounds, rows_per_step):
                if left <= 0:
                    return
                columns = {name: shard.index[name][start:stop] for name in INDEX_COLUMNS}
                yield Block(shard.acts(hook_point, start, stop), columns, split == "held_out")
                left -= stop - start


def document_blocks(bounds: list[int], rows_per_step: int) -> Iterator[tuple[int, int]]:
    """Row ranges of whole documents, about `rows_per_step` long."""
    start = 0
    for end, following in pairwise([*bounds[1:], bounds[-1] + rows_per_step]):
        if following - start > rows_per_step:
            yield start, end
            start = end


def examples(
    search: Search, index: dict[str, np.ndarray], effects: LogitEffects | None, window: int
) -> FeatureExamples:
    """Puts tokens and places to what the search kept."""
    kinds = {"top": search.top, "quantile": search.quantiles(), "contrast": search.silent}
    top = search.top.activation[:, 0]
    logits: dict[str, Any] = (
        {} if effects is None else {name: value.numpy() for name, value in effects._asdict().items()}
    )
    return FeatureExamples(
        density=(search.fired / max(search.n_rows, 1)).float().numpy(),
        max_activation=top.numpy(),
        contexts={kind: located(kept, index, window) for kind, kept in kinds.items()},
        logits={name: value.astype(np.int32 if name.endswith("id") else np.float32) for name, value in logits.items()},
    )


def located(kept: Kept, index: dict[str, np.ndarray], window: int) -> Contexts:
    """Contexts with their tokens and where they stand."""
    row = kept.row.numpy()
    there = (row >= 0) & torch.isfinite(kept.key).numpy()
    peak = np.where(there, row, 0)
    near = peak[..., None] + np.arange(window) - before(window)
    inside = (near >= 0) & (near < len(index["document"]))
    near = near.clip(0, len(index["document"]) - 1)
    inside &= (index["document"][near] == index["document"][peak][..., None]) & there[..., None]
    start, end = index["char_start"][near], index["char_end"][near]
    has_text = inside & (start >= 0)
    without_text = there & ~has_text.any(axis=-1)  # patches of an image, or special tokens only
    return Contexts(
        activation=np.where(there, kept.activation.numpy(), 0).astype(np.float32),
        document=np.where(there, index["document"][peak], -1).astype(np.int32),
        position=np.where(there, index["position"][peak], -1).astype(np.int32),
        is_held_out=(there & index["is_held_out"][peak]).astype(np.uint8),
        char_start=np.where(without_text, -1, np.where(has_text, start, np.iinfo(np.int32).max).min(axis=-1) * there),
        char_end=np.where(without_text, -1, np.where(has_text, end, 0).max(axis=-1) * there),
        token_id=np.where(inside, index["token_id"][near], -1).astype(np.int32),
        acts=np.where(inside, kept.around.numpy(), 0).astype(np.float16),
    )


def words(lm: LanguageModel) -> list[str]:
    """The text of every token id, or the place of every patch."""
    return vocabulary(lm.tokenizer) if lm.processor is None else lm.processor.grid.names


def vocabulary(tokenizer: Any) -> list[str]:
    """The text of every token id as it stands within a text, so that readers of examples need no tokenizer.

    Decoded after another token, since some tokenizers drop the space before the first one.
    """
    first = next(
        i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids and decoded(tokenizer, i).strip()
    )
    before_it = len(decoded(tokenizer, first))
    return [decoded(tokenizer, first, token_id)[before_it:] for token_id in range(len(tokenizer))]


def decoded(tokenizer: Any, *token_ids: int) -> str:
    """The text of some tokens, spaces left as they are."""
    return tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False)
