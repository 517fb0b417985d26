"""The models of the desk: the run's own, and those named at the start. What is told of them is read from their files,
without loading a model: tokens by the tokenizers package, the rest from config.json.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from clinlens import clinic
from clinlens.config import RunConfig
from hooks.config import ModelConfig
from hooks.model_types import ENCODERS, TOWERS
from sae import artefact
from sae.errors import UserError

EMBEDDED = "clinic"
MAX_TOKENISED = 256
KINDS_OF_TOKEN = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenised(NamedTuple):
    """A text as a model reads it."""

    tokens: list[str]
    offsets: list[tuple[int, int]]
    """First and end character; −1 for tokens that stand for no text."""
    is_special: list[bool]


class ServedModel:
    """One model and its files.

    Args:
        cfg: Where it lies and how it is loaded.
        is_run: Whether it is the run's own, whose features can be explained.
    """

    def __init__(self, cfg: ModelConfig, *, is_run: bool) -> None:
        self.cfg, self.is_run, self.name = cfg, is_run, cfg.name
        self.seen: OrderedDict[str, Tokenised] = OrderedDict()
        self.lock = Lock()

    @cached_property
    def folder(self) -> Path:
        """Where its files are; a hub's model is expected in the local cache, where the run's capture left it."""
        folder = (self.cfg.path or Path(self.cfg.name)).expanduser()
        if self.cfg.path is not None or folder.is_dir():
            return folder
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.cfg.name, revision=self.cfg.revision, local_files_only=True))
        except Exception as error:  # the hub's client raises a dozen unrelated classes for "not there"
            raise UserError(
                f"The model {self.name!r} is not in this machine's cache ({type(error).__name__}), expected it there. "
                "Run `clinlens capture` once, or serve a local folder with --model NAME=FOLDER."
            ) from error

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its config.json, the text model's part of it.

        Raises:
            UserError: It has none.
        """
        try:
            whole = artefact.read_json(self.folder / "config.json")
        except (OSError, ValueError) as error:
            raise UserError(
                f"The model {self.name!r} has no readable config.json, expected a folder saved by save_pretrained. "
                "Correct its folder."
            ) from error
        return whole

    @property
    def kind(self) -> str:
        """decoder, encoder or vision."""
        model_type = self.config.get("model_type", "")
        if self.cfg.kind != "auto":
            return self.cfg.kind
        return "vision" if model_type in TOWERS else "encoder" if model_type in ENCODERS else "decoder"

    @property
    def n_context_tokens(self) -> int | None:
        """Longest input; None where its config says nothing."""
        found = self.config.get("max_position_embeddings") or self.config.get("n_positions")
        spare = (
            (self.config.get("pad_token_id") or 0) + 1
            if self.config.get("model_type") in ("roberta", "xlm-roberta")
            else 0
        )
        return found - spare if found else None

    def fingerprint(self) -> str:
        """One hash over weights, config and tokenizer."""
        paths = sorted(
            path for suffix in ("safetensors", "json", "txt", "model") for path in self.folder.glob(f"*.{suffix}")
        )
        stamps = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
        with self.lock:
            if getattr(self, "stamped", None) is None or self.stamped[0] != stamps:
                self.stamped = (
                    stamps,
                    artefact.content_hash([(path.name, artefact.file_hash(path)) for path in paths]),
                )
            return self.stamped[1]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer.

        Raises:
            UserError: It has no tokenizer.json.
        """
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            raise UserError(
                f"The model {self.name!r} has no tokenizer.json, expected one to show its tokens. Jobs work without; save a "
                "fast tokenizer there to see tokens before."
            )
        found = Tokenizer.from_file(str(file))
        found.no_truncation()
        found.no_padding()
        return found

    @cached_property
    def special(self) -> dict[str, str]:
        """Kinds of special tokens → how they are written."""
        found: dict[str, str] = {}
        for file in ("special_tokens_map.json", "tokenizer_config.json"):
            values = artefact.read_json(self.folder / file) if (self.folder / file).is_file() else {}
            for kind in KINDS_OF_TOKEN:
                value = values.get(kind)
                if value is not None:
                    found[kind] = value["content"] if isinstance(value, dict) else value
        return found

    def first_of(self, *kinds: str) -> list[int]:
        """The id of the first kind of special token that there is; empty if none."""
        ids = [self.tokenizer.token_to_id(self.special[kind]) for kind in kinds if kind in self.special]
        return [token_id for token_id in ids if token_id is not None][:1]

    def tokenise(self, text: str) -> Tokenised:
        """A text's tokens with BOS, or CLS and SEP, around them, as jobs read it; the last texts are remembered."""
        with self.lock:
            if text in self.seen:
                self.seen.move_to_end(text)
                return self.seen[text]
        is_encoder = self.kind == "encoder"
        prefix = self.first_of(*(("cls_token", "bos_token") if is_encoder else ("bos_token",)))
        suffix = self.first_of("sep_token", "eos_token") if is_encoder else []
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        n_there = len(prefix) if encoded.ids[: len(prefix)] == prefix else 0
        ids = [*prefix, *encoded.ids[n_there:], *suffix]
        offsets = [*[(-1, -1)] * len(prefix), *encoded.offsets[n_there:], *[(-1, -1)] * len(suffix)]
        names = [
            text[a:b] if a >= 0 else str(self.tokenizer.id_to_token(i)) for i, (a, b) in zip(ids, offsets, strict=True)
        ]
        flags = [a < 0 or i in self.special_ids for i, (a, _) in zip(ids, offsets, strict=True)]
        found = Tokenised(names, offsets, flags)
        with self.lock:
            self.seen[text] = found
            while len(self.seen) > MAX_TOKENISED:
                self.seen.popitem(last=False)
        return found

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are no words; an unknown word is a word."""
        added = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        named = {self.tokenizer.token_to_id(word) for kind, word in self.special.items() if kind != "unk_token"}
        unknown = self.tokenizer.token_to_id(self.special["unk_token"]) if "unk_token" in self.special else None
        return frozenset((added | named) - {unknown})  # type: ignore[arg-type]

    def facts(self) -> dict[str, Any]:
        """What is told of it."""
        return {
            "name": self.name, "is_run": self.is_run, "kind": self.kind, "model_type": self.config.get("model_type"),
            "n_layers": self.config.get("num_hidden_layers") or self.config.get("n_layer"),
            "n_context_tokens": self.n_context_tokens, "dtype": self.cfg.dtype, "quantization": self.cfg.quantization,
            "bytes": sum(path.stat().st_size for path in self.folder.glob("*.safetensors")),
            "has_tokens": (self.folder / "tokenizer.json").is_file(),
            "has_chat_template": (self.folder / "chat_template.jinja").is_file() or self.has_template,
        }  # fmt: skip

    @cached_property
    def has_template(self) -> bool:
        """Whether the tokenizer's config holds a chat template."""
        file = self.folder / "tokenizer_config.json"
        return file.is_file() and "chat_template" in json.loads(file.read_text(encoding="utf-8"))


def served(cfg: RunConfig | None, more: Mapping[str, Path]) -> dict[str, ServedModel]:
    """Every model by name: the run's first.

    Raises:
        UserError: A name is taken twice, or a folder holds no model.
    """
    found: dict[str, ServedModel] = {}
    if cfg is not None:
        own = cfg.model
        if own.name == EMBEDDED and own.path is None:
            own = own.model_copy(update={"path": clinic.model_folder()})
        found[own.name] = ServedModel(own, is_run=True)
    for name, folder in more.items():
        if name in found:
            raise UserError(
                f"--model {name!r} is the name of another model here, expected a new one. Choose another name."
            )
        if not (folder / "config.json").is_file():
            raise UserError(
                f"--model {name!r}: {folder} has no config.json, expected a model's folder. Correct the path."
            )
        found[name] = ServedModel(ModelConfig(name=name, path=folder), is_run=False)
    return found
