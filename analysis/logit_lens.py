"""Which next tokens a feature pushes up and down, read directly from the weights.

A feature adds its decoder row to the residual stream. Seen through the final norm's gain and the unembedding, with
the mean over the vocabulary taken away, that is its direct effect on the logits (later layers left out).

Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; Bricken et al. 2023 for features.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hooks.hook_points import parse
from hooks.model import LanguageModel

FEATURES_PER_STEP = 512
RESIDUAL_KINDS = ("hook_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
"""Hook points whose values are, or are added to, the residual stream."""


class LogitEffects(NamedTuple):
    """The tokens with the largest and smallest direct effect of each feature."""

    top_id: Int[Tensor, "d_sae n"]
    top_value: Float[Tensor, "d_sae n"]
    bottom_id: Int[Tensor, "d_sae n"]
    bottom_value: Float[Tensor, "d_sae n"]


@torch.inference_mode()
def logit_effects(
    lm: LanguageModel, hook_point: str, W_dec: Float[Tensor, "d_sae width"], n: int
) -> LogitEffects | None:
    """Direct effects of decoder rows on the logits.

    Args:
        lm: A decoder.
        hook_point: Where the rows were trained.
        W_dec: Decoder rows.
        n: Tokens to keep at each end.

    Returns:
        None for encoders and vision towers, which have no next token, and where rows do not live in the residual stream.
    """
    if lm.kind != "decoder" or lm.family.final_norm is None or parse(hook_point).kind not in RESIDUAL_KINDS:
        return None
    norm = lm.base.get_submodule(lm.family.final_norm)
    unembedding = lm.model.get_output_embeddings().weight.float().cpu()  # type: ignore[operator]
    n = min(n, len(unembedding))
    parts = [extremes(direction, norm, unembedding, n) for direction in W_dec.split(FEATURES_PER_STEP)]
    return LogitEffects(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def extremes(direction: Tensor, norm: nn.Module, unembedding: Tensor, n: int) -> LogitEffects:
    """As above, for some features."""
    if isinstance(norm, nn.LayerNorm):
        direction = direction - direction.mean(dim=1, keepdim=True)
        gain = norm.weight.float().cpu()
    else:
        ones = torch.ones(1, 1, direction.shape[1], dtype=next(norm.parameters()).dtype)
        gain = norm(ones.to(next(norm.parameters()).device))[0, 0].float().cpu()  # an RMS norm gives its gain for ones
    effects = (direction * gain) @ unembedding.T
    effects -= effects.mean(dim=1, keepdim=True)
    top, bottom = effects.topk(n, dim=1), effects.topk(n, dim=1, largest=False)
    return LogitEffects(top.indices, top.values, bottom.indices, bottom.values)
