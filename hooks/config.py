"""Settings of the model, the corpus and the capture."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from sae.config import Settings


class ModelConfig(Settings, frozen=True):
    """Which language model, or which model's vision tower, is opened."""

    name: str = Field(default="clinic", description="A hub id, a local folder, or `clinic`, the embedded default.")
    path: Path | None = Field(
        default=None, description="Folder with the model's files, where `name` is only what to call it."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub id.")
    kind: Literal["auto", "decoder", "encoder", "vision"] = Field(
        default="auto",
        description="Decoder with a language-model head, encoder, or vision tower (CLIP, SigLIP, ViT, DINOv2); `auto` reads it "
        "from the model's config.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Number format the model runs in; `auto` is the one it was saved in."
    )
    quantization: Literal["none", "int8", "int4"] = Field(
        default="none",
        description="Keep the weights in 8 or 4 bits, by bitsandbytes (extra `quantized`): less memory, other values.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where it runs; `auto` takes a GPU if there is one."
    )


class CorpusConfig(Settings, frozen=True):
    """Which texts or images are read."""

    name: str = Field(
        default="clinic",
        description="A hub dataset, a JSONL, JSON, CSV, Parquet or text file, a folder of such files or of images, or `clinic`.",
    )
    subset: str | None = Field(default=None, description="Configuration of a hub dataset.")
    split: str = Field(default="train", description="Split of a hub dataset; files have only `train`.")
    text_column: str = Field(default="text", description="Column that holds the text.")
    messages_column: str | None = Field(
        default=None,
        description="Column with a dialogue [{role, content}, …], which the model's chat template writes out as the "
        "document's text; `text_column` is then ignored, and spans count characters of the text written out.",
    )
    image_column: str | None = Field(
        default=None,
        description="Column with the paths of image files, relative to the file that holds it, for a vision tower; columns "
        "of text are then ignored.",
    )
    id_column: str | None = Field(default=None, description="Column that names the document; its row number if unset.")
    group_column: str | None = Field(
        default=None, description="Column that names the patient: documents of one patient are never split apart."
    )
    span_column: str | None = Field(
        default=None, description="Column with annotated spans [{start, end, label}], for concept recovery."
    )
    text_unit: Literal["document", "paragraph", "line"] = Field(
        default="document", description="What one document is in a plain text file."
    )
    max_documents: PositiveInt | None = Field(default=None, description="Read only the first so many documents.")
    min_tokens: PositiveInt = Field(
        default=2, description="A document with fewer tokens, special ones apart, is too short."
    )
    short_documents: Literal["error", "skip"] = Field(
        default="error", description="What to do with empty and too short documents."
    )
    held_out: float = Field(
        default=0.1, gt=0, lt=1, description="Share of documents kept from training; equal texts stay on one side."
    )
    deidentification: Literal["off", "sign_off"] = Field(
        default="off",
        description="`sign_off` refuses the corpus until a person has signed what `clinlens screen` found in it.",
    )
    shareable: bool = Field(default=False, description="The texts may leave this machine.")

    @field_validator("deidentification", mode="before")
    @classmethod
    def off_is_a_word(cls, value: Any) -> Any:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value


class ScreeningConfig(Settings, frozen=True):
    """How a corpus is searched for what could name a patient."""

    language: str = Field(
        default="en",
        pattern="^[a-z]{2}$",
        description="Language of the texts, as two letters; most patterns are English.",
    )
    spacy_model: str = Field(
        default="auto",
        description="spaCy model that finds names and places, installed or a folder; `auto` takes the largest installed "
        "one of the language, and says loudly where there is none.",
    )
    min_score: float = Field(
        default=0.3, ge=0, le=1, description="Presidio's score from which a passage counts as found; lower finds more."
    )
    review_findings: PositiveInt = Field(
        default=5000, description="Passages shown on the review page; what is left out is counted there."
    )


class CaptureConfig(Settings, frozen=True):
    """Which activations are kept, and how."""

    hook_points: tuple[str, ...] = Field(
        default=("blocks.*.hook_resid_post",), min_length=1, description="TransformerLens names; `*` means every layer."
    )
    context_tokens: int = Field(
        default=256,
        ge=4,
        description="Longest window the model sees, special tokens included; longer documents are cut into several.",
    )
    overlap_tokens: NonNegativeInt = Field(
        default=0,
        description="Words of the window before that a long document's next window reads again as context; each word "
        "is stored once.",
    )
    backend: Literal["hooks", "bridge"] = Field(
        default="hooks",
        description="Plain forward hooks with early exit, or TransformerLens' TransformerBridge (decoders it knows; slower).",
    )
    prepend_bos: bool = Field(
        default=True,
        description="Put the tokenizer's BOS token before each window of a decoder where the tokenizer has one.",
    )
    dtype: Literal["auto", "float16", "float32", "bfloat16"] = Field(
        default="auto",
        description="Stored number format; `auto` keeps bfloat16 models as they are and others as float16, "
        "or float32 where float16 overflows.",
    )
    batch_tokens: PositiveInt = Field(default=4096, description="Tokens per forward pass, padding included.")
    shard_tokens: PositiveInt = Field(default=65_536, description="Tokens per shard, at most; what a kill can lose.")
