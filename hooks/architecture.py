"""Where the hook points of each kind of model live among its modules.

One table per family of models, read as: in layer N, `hook_attn_out` is the output of `self_attn`. Paths are
relative to the layer; the layers and the embedding are relative to the base model (without language-model head).
For vision towers `hook_embed` is what enters the first layer's norm, CLS and positions included (in CLIP before
`pre_layrnorm`), and the layers are read as those of a decoder.

Differs from TransformerBridge at one point: for BERT-like encoders `hook_attn_out` is what attention adds to the
stream (as in TransformerLens' HookedEncoder), where the bridge gives the sum after its LayerNorm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from hooks.hook_points import EMBED, HookPoint
from sae.errors import UserError


class Place(NamedTuple):
    """A value that passes through a module."""

    path: str
    """Module path; empty for the layer itself."""
    side: Literal["input", "output"]
    """Whether the value goes in or comes out."""


@dataclass(frozen=True)
class Family:
    """The module names of one family of models."""

    layers: str
    embedding: str
    final_norm: str | None
    """The norm between the last layer and the unembedding; none for encoders."""
    places: Mapping[str, Place]
    """Kind of hook point → place in a layer."""

    def __or__(self, changes: Mapping[str, Place | None]) -> "Family":
        places = {kind: place for kind, place in {**self.places, **changes}.items() if place is not None}
        return Family(self.layers, self.embedding, self.final_norm, places)


def decoder_places(mid: str, attention: str, z: str, mlp: str, mlp_post: str) -> dict[str, Place]:
    """The places of a layer that adds attention and MLP to the stream, normalising before each."""
    return {
        "hook_resid_pre": Place("", "input"),
        "hook_resid_mid": Place(mid, "input"),
        "hook_resid_post": Place("", "output"),
        "hook_attn_out": Place(attention, "output"),
        "hook_mlp_out": Place(mlp, "output"),
        "attn.hook_z": Place(z, "input"),
        "mlp.hook_post": Place(mlp_post, "input"),
    }


LLAMA = Family(
    "layers",
    "embed_tokens",
    "norm",
    decoder_places("post_attention_layernorm", "self_attn", "self_attn.o_proj", "mlp", "mlp.down_proj"),
)
GEMMA_2 = LLAMA | {
    "hook_resid_mid": Place("pre_feedforward_layernorm", "input"),
    "hook_attn_out": Place("post_attention_layernorm", "output"),
    "hook_mlp_out": Place("post_feedforward_layernorm", "output"),
}
GPT_2 = Family("h", "wte", "ln_f", decoder_places("ln_2", "attn", "attn.c_proj", "mlp", "mlp.c_proj"))
GPT_NEOX = Family(
    "layers",
    "embed_in",
    "final_layer_norm",
    decoder_places("post_attention_layernorm", "attention", "attention.dense", "mlp", "mlp.dense_4h_to_h"),
)
BIOGPT = Family(
    "layers",
    "embed_tokens",
    "layer_norm",
    decoder_places("final_layer_norm", "self_attn", "self_attn.out_proj", "fc2", "fc2"),
)
MODERNBERT = Family(
    "layers",
    "embeddings.tok_embeddings",
    None,
    decoder_places("mlp_norm", "attn", "attn.Wo", "mlp", "mlp.Wo"),
)
BERT = Family(
    "encoder.layer",
    "embeddings.word_embeddings",
    None,
    decoder_places(
        "attention.output.LayerNorm", "attention.output.dense", "attention.output.dense", "output.dense", "output.dense"
    ),
)
CLIP = Family(
    "encoder.layers",
    "embeddings",
    None,
    decoder_places("layer_norm2", "self_attn", "self_attn.out_proj", "mlp", "mlp.fc2"),
)
VIT = Family(
    "layers",
    "embeddings",
    None,
    decoder_places("layernorm_after", "attention", "attention.o_proj", "mlp", "mlp.fc2"),
)
DINOV2 = Family(
    "encoder.layer",
    "embeddings",
    None,
    decoder_places("norm2", "layer_scale1", "attention.o_proj", "layer_scale2", "mlp.fc2"),
)

FAMILIES = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma": LLAMA,
    "gemma2": GEMMA_2,
    "gemma3_text": GEMMA_2,
    "gpt2": GPT_2,
    "gpt_neox": GPT_NEOX,
    "biogpt": BIOGPT,
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "electra": BERT,
    "modernbert": MODERNBERT,
    "clip": CLIP,
    "clip_vision_model": CLIP,
    "siglip": CLIP,
    "siglip_vision_model": CLIP,
    "vit": VIT,
    "dinov2": DINOV2,
}
WITHOUT_CLS = frozenset({"siglip", "siglip_vision_model"})


def family_of(model_type: str, config: object) -> Family:
    """The family of a model.

    Args:
        model_type: `config.model_type` of transformers.
        config: The model's config; a GPT-NeoX that adds attention and MLP in parallel has no `hook_resid_mid`, and the
            largest DINOv2 another MLP.

    Raises:
        UserError: No family is known for this model type.
    """
    family = FAMILIES.get(model_type)
    if family is None:
        raise UserError(
            f"The model is of type {model_type!r}, expected one of {', '.join(sorted(FAMILIES))}. "
            "Choose such a model, or add its module names to hooks/architecture.py."
        )
    if model_type == "gpt_neox" and getattr(config, "use_parallel_residual", False):
        return family | {"hook_resid_mid": None}
    if model_type == "dinov2" and getattr(config, "use_swiglu_ffn", False):
        return family | {"mlp.hook_post": Place("mlp.down_proj", "input")}
    return family


def place_of(point: HookPoint, family: Family, base: nn.Module) -> tuple[nn.Module, Literal["input", "output"]]:
    """The module and the side of it where a hook point's value passes."""
    if point.kind == EMBED:
        return base.get_submodule(family.embedding), "output"
    place = family.places[point.kind]
    path = ".".join(part for part in (family.layers, str(point.layer), place.path) if part)
    return base.get_submodule(path), place.side
