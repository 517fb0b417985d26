"""What features do on texts: one pass of the model, features pooled over each text.

Every token of a text counts but the special ones, as no autoencoder was trained on those.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from analysis.audits.answers import padded, prompt_ids
from hooks import passage
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from hooks.windows import special_ids
from sae.base import SAE


class Pooled(NamedTuple):
    """Features of one autoencoder on some texts."""

    largest: np.ndarray
    """[n, d_sae] largest activation."""
    last: np.ndarray
    """[n, d_sae] activation at the last token."""
    share: np.ndarray
    """[n, d_sae] share of tokens at which the feature fires."""
    error: np.ndarray
    """[n] squared error of the reconstruction, mean over tokens."""
    variance: np.ndarray
    """[n] squared distance of the activations from the autoencoder's b_dec, mean over tokens."""
    n_tokens: np.ndarray
    """[n]."""

    @property
    def fires(self) -> np.ndarray:
        """[n, d_sae] bool: whether the feature fires anywhere in the text."""
        return self.largest > 0


def pooled(
    lm: LanguageModel, saes: Mapping[HookPoint, SAE], texts: Sequence[str], most_tokens: int | None = None
) -> dict[HookPoint, Pooled]:
    """Features of each autoencoder on each text.

    Args:
        lm: The model.
        saes: One autoencoder for each hook point.
        texts: No longer than the model reads, unless they may be cut.
        most_tokens: Cut longer texts there; an error if none.

    Raises:
        UserError: A text is empty or too long.
    """
    encoded = [prompt_ids(lm, text, most_tokens) for text in texts]
    special = torch.from_numpy(special_ids(lm.tokenizer))
    found = {point: empty(len(texts), sae.d_sae) for point, sae in saes.items()}
    for batch in padded(encoded, lm):
        values = passage.record(lm, saes, batch.input_ids, batch.attention_mask)
        counts = batch.attention_mask.bool() & ~torch.isin(batch.input_ids, special)
        for point, sae in saes.items():
            add(found[point], sae, values[point].float().cpu(), counts, batch.last, batch.rows)
    return found


def empty(n: int, d_sae: int) -> Pooled:
    """Room for the features of n texts."""
    return Pooled(*(np.zeros((n, d_sae), np.float32) for _ in range(3)), *(np.zeros(n) for _ in range(3)))


@torch.inference_mode()
def add(
    found: Pooled, sae: SAE, x: torch.Tensor, counts: torch.Tensor, last: torch.Tensor, rows: Sequence[int]
) -> None:
    """Fills in the rows of one batch."""
    acts = sae.encode(x)
    error = (sae.decode(acts) - x).square().sum(-1) * counts
    spread = (x - sae.b_dec).square().sum(-1) * counts
    acts = acts * counts[..., None]
    n = counts.sum(1).clamp(min=1)
    found.largest[rows] = acts.amax(1).numpy()
    found.last[rows] = acts[torch.arange(len(rows)), last].numpy()
    found.share[rows] = ((acts > 0).sum(1) / n[:, None]).numpy()
    found.error[rows] = (error.sum(1) / n).double().numpy()
    found.variance[rows] = (spread.sum(1) / n).double().numpy()
    found.n_tokens[rows] = n.numpy()
