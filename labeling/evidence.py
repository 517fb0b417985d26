"""The evidence on one feature that a rater sees, frozen: a judgement always points to exactly what was seen.

A snapshot holds short windows of text, never a whole note; the contexts, each with the feature's activation on every
token, in the order in which they are shown; the density; the next tokens it pushes up and down. Its id is its hash.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

from labeling.identifiers import canonical, sha256

Kind = Literal["top", "quantile", "contrast"]
WITHHELD = '{"contexts":[],"is_withheld":true}'
"""Body of a snapshot whose text stayed at its institution: the hash beside it still proves what was shown."""
NOTHING_HERE = '%"contexts":[]%'
"""Like the stored body of evidence of which nothing can be shown here: withheld, or of a table that had none."""


@dataclass(frozen=True)
class SAERef:
    """Which autoencoder a feature belongs to, wherever its files lie."""

    model: str
    """What the model is called."""
    model_hash: str
    """Of its weights."""
    hook_point: str
    sae_id: str
    weights_sha256: str
    """Of `sae_weights.safetensors`."""
    d_sae: int


@dataclass(frozen=True)
class Context:
    """One window of text."""

    kind: Kind
    document: int
    """Row number in the corpus."""
    position: int
    """Row of the strongest token within the document."""
    is_held_out: bool
    tokens: tuple[str, ...]
    """Their texts."""
    acts: tuple[float, ...]
    """The feature's activation on each, three significant digits."""
    peak: int
    """Place of the strongest token among them; where the feature is silent, of the middle."""
    quantile: int | None
    """Of a quantile context: 0 is the strongest group."""


@dataclass(frozen=True)
class Snapshot:
    """Everything shown of one feature."""

    sae: SAERef
    feature: int
    """Its index."""
    density: float
    """Share of tokens it fires on."""
    max_activation: float
    contexts: tuple[Context, ...]
    top_logits: tuple[tuple[str, float], ...]
    """Next tokens it pushes up, with the effect on their logits; none for encoders."""
    bottom_logits: tuple[tuple[str, float], ...]
    corpus: str
    """What the corpus is called."""
    corpus_hash: str
    code_version: str

    @cached_property
    def body(self) -> dict[str, Any]:
        """As it is stored and shown."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "sae": vars(self.sae), "contexts": [vars(context) for context in self.contexts]}

    @cached_property
    def text(self) -> str:
        """The body as it is stored."""
        return canonical(self.body)

    @cached_property
    def sha256(self) -> str:
        """Its id."""
        return sha256(self.text.encode())

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> "Snapshot":
        """A stored one."""
        contexts = tuple(
            Context(**{**one, "tokens": tuple(one["tokens"]), "acts": tuple(one["acts"])}) for one in body["contexts"]
        )
        logits = {name: tuple((word, value) for word, value in body[name]) for name in ("top_logits", "bottom_logits")}
        return cls(**{**body, "sae": SAERef(**body["sae"]), "contexts": contexts, **logits})
