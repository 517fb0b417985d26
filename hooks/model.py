"""A language model with its tokenizer, or a vision tower with its image processor, loaded without executing code that
comes with it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
import xxhash
from safetensors import SafetensorError
from torch import nn

from hooks.architecture import Family, family_of
from hooks.config import ModelConfig
from hooks.model_types import ENCODERS, TOWERS
from hooks.processor import PROCESSOR_FILES, ImageProcessor, load_processor
from hooks.quantization import loading_options, refuse_broken_blocks
from sae import artefact
from sae.errors import UserError

Kind = Literal["decoder", "encoder", "vision"]
ROBERTAS = ("roberta", "xlm-roberta")
TOKENIZER_FILES = {"tokenizer", "tokenizer_config", "vocab", "merges", "special_tokens_map", "added_tokens", "spiece"}
WEIGHT_FILES = "*.safetensors"
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched from a hub: weights that hold no code, configs, vocabularies and chat templates."""


@dataclass(frozen=True)
class LanguageModel:
    """A model that is ready to be listened to: evaluation mode, no gradients unless asked for."""

    name: str
    """As in the config."""
    model: nn.Module
    """With its language-model head, where it is a decoder."""
    tokenizer: Any
    """None for a vision tower."""
    kind: Kind
    family: Family
    folder: Path
    """Where it was loaded from."""
    processor: ImageProcessor | None = None
    """What turns images into its input, where it is a vision tower."""

    @property
    def base(self) -> nn.Module:
        """The model without head."""
        return self.model.base_model  # type: ignore[return-value]

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def n_layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def n_heads(self) -> int:
        return self.config.num_attention_heads

    @property
    def max_context_tokens(self) -> int:
        """Longest input that the model's positions allow; RoBERTa's begin after the padding's number."""
        n_positions = int(getattr(self.config, "max_position_embeddings", None) or 2**31)
        return n_positions - (self.config.pad_token_id + 1 if self.config.model_type in ROBERTAS else 0)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format it runs in; quantised weights are whole numbers and say nothing of it."""
        return next(one.dtype for one in self.model.parameters() if one.is_floating_point())

    @property
    def is_quantized(self) -> bool:
        """Whether some weights have fewer bits than those of the files, or were saved so."""
        return bool(getattr(self.model, "is_quantized", False))

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """Name and content hashes of the weights and of the tokenizer."""
        return fingerprint(self.name, self.folder)


def fingerprint(name: str, folder: Path) -> dict[str, str]:
    """What tells one model from another: its name, and hashes of weights with config and of the tokenizer with the
    image processor."""
    weights = [*sorted(folder.glob(WEIGHT_FILES)), folder / "config.json"]
    words = [path for path in sorted(folder.iterdir()) if is_tokenizer_file(path) or is_processor_file(path)]
    return {"model": name, "weight_hash": hash_files(weights), "tokenizer_hash": hash_files(words)}


def is_tokenizer_file(path: Path) -> bool:
    """Whether a file of a model folder decides how text becomes tokens."""
    stem = path.name.split(".")[0]
    return path.is_file() and stem in TOKENIZER_FILES


def is_processor_file(path: Path) -> bool:
    """Whether a file of a model folder decides how images become pixel values."""
    return path.is_file() and path.name.split(".")[0] in PROCESSOR_FILES


def hash_files(paths: list[Path]) -> str:
    """One hash over the bytes of several files, in order."""
    digest = xxhash.xxh3_128()
    for path in paths:
        found = path.stat()
        digest.update(hash_once(path.absolute(), found.st_size, found.st_mtime_ns).encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def hash_once(path: Path, _size: int, _modified_ns: int) -> str:
    """A file's hash, read once by a process as long as the file stays as it is: weights are many gigabytes."""
    return artefact.file_hash(path)


def locate(cfg: ModelConfig) -> Path:
    """The folder with the model's files: a local one, or the hub's snapshot.

    Raises:
        UserError: Neither a folder nor a hub id that can be had.
    """
    folder = (cfg.path or Path(cfg.name)).expanduser()
    if cfg.path is not None or folder.is_dir():
        check_folder(folder)
        return folder
    if cfg.name.startswith((".", "/", "~")) or cfg.name.count("/") > 1:
        raise UserError(
            f"model.name {cfg.name!r} is no folder, expected a folder with config.json or a hub id. Correct the path."
        )
    snapshot = fetch(cfg)
    check_folder(snapshot)
    return snapshot


def fetch(cfg: ModelConfig) -> Path:
    """Asks the hub for a snapshot, or its local cache where there is no network."""
    from huggingface_hub import snapshot_download  # slow, and needed for hub ids only
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(cfg.name, revision=cfg.revision, allow_patterns=list(MODEL_FILES)))
    except HFValidationError as error:
        raise UserError(f"model.name {cfg.name!r} is neither a folder nor a hub id. Correct the name.") from error
    except Exception as error:  # the hub's client raises a dozen unrelated classes for "not to be had"
        raise UserError(
            f"The model {cfg.name!r} is no local folder and the hub did not give it ({type(error).__name__}). "
            "Check the name and the network, or name a local folder."
        ) from error


def check_folder(folder: Path) -> None:
    """Refuses a folder that is no model, or whose weights could execute code."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json, expected a folder saved by save_pretrained. Correct model.name.")
    if not any(folder.glob(WEIGHT_FILES)):
        raise UserError(
            f"{folder} has no *.safetensors weights, expected that format because pickled weights can execute code. "
            "Convert the model once with save_pretrained(…, safe_serialization=True) on a machine you trust."
        )


@lru_cache(maxsize=1)
def load(cfg: ModelConfig) -> LanguageModel:
    """Loads a model as `load_afresh` does; the last one stays loaded."""
    return load_afresh(cfg)


def load_afresh(cfg: ModelConfig) -> LanguageModel:
    """Loads a model and its tokenizer or image processor from a hub id or a local folder.

    Raises:
        UserError: The model is not to be had, not of a known family, or no fast tokenizer, or no image processor, lies
            beside it.
    """
    from transformers import AutoConfig

    folder = locate(cfg)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise UserError(
            f"{folder}/config.json describes no model that transformers knows ({type(error).__name__}). "
            "Choose a model that needs no code of its own."
        ) from error
    family = family_of(config.model_type, config)
    kind = kind_of(cfg, config)
    device = device_of(cfg)
    options = loading_options(cfg, config, device)
    model = load_weights(class_of(kind, config.model_type), folder, cfg, options)
    if not options:  # quantised weights are where they belong, and may not be moved
        nn.Module.to(model, device)
    if cfg.quantization == "int4":
        refuse_broken_blocks(model, cfg.name)
    model.eval().requires_grad_(False)
    if kind == "vision":
        return LanguageModel(cfg.name, model, None, kind, family, folder, load_processor(folder, config))
    return LanguageModel(cfg.name, model, load_tokenizer(folder), kind, family, folder)


def class_of(kind: Kind, model_type: str) -> Any:
    """The class of transformers that loads a model's part of interest."""
    import transformers

    match kind:
        case "decoder":
            return transformers.AutoModelForCausalLM
        case "encoder":
            return transformers.AutoModel
        case "vision":
            return getattr(transformers, TOWERS[model_type])
        case _:
            assert_never(kind)


def device_of(cfg: ModelConfig) -> str:
    """Where the model runs.

    Raises:
        UserError: A GPU was asked for and there is none.
    """
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise UserError("model.device is 'cuda', but torch sees no GPU here. Set it to auto or cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if cfg.device == "auto" else cfg.device


def load_weights(auto: Any, folder: Path, cfg: ModelConfig, options: dict[str, Any]) -> Any:
    """The model of a folder with all its weights.

    Raises:
        UserError: They cannot be read or not be quantised here, or some are missing: transformers would fill those
            with random numbers.
    """
    try:
        model, found = auto.from_pretrained(
            folder, dtype=cfg.dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except (ImportError, RuntimeError, ValueError, NotImplementedError) as error:
        if not options:
            raise unreadable(folder, error) from error
        device = options["device_map"][""]
        raise UserError(
            f"bitsandbytes cannot load {cfg.name!r} as {cfg.quantization} on {device} ({type(error).__name__}), expected a "
            "device and a model that it supports. Choose another model.device, or model.quantization=none."
        ) from error
    except (OSError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    missing = [name for name in found["missing_keys"] if "pooler" not in name]
    if missing:
        raise UserError(
            f"{folder} lacks {len(missing)} weights of a {auto.__name__.removeprefix('AutoModel') or 'base'} model "
            f"(the first is {sorted(missing)[0]}), expected all. Set model.kind to what was saved, or save the whole model."
        )
    return model


def unreadable(folder: Path, error: Exception) -> UserError:
    """The sentence on weights that cannot be read."""
    return UserError(
        f"The weights in {folder} cannot be read ({type(error).__name__}), expected whole *.safetensors files of this model. "
        "Copy or download them again."
    )


def kind_of(cfg: ModelConfig, config: Any) -> Kind:
    """Decoder, encoder or vision tower, as asked for or as the model's config says.

    Raises:
        UserError: A language model was to be a vision tower, or a vision tower something else.
    """
    is_tower = config.model_type in TOWERS
    if cfg.kind != "auto" and (cfg.kind == "vision") != is_tower:
        raise UserError(
            f"model.kind is {cfg.kind!r}, but {cfg.name!r} is of type {config.model_type!r}, which reads "
            f"{'images' if is_tower else 'text'}. Set model.kind=auto, or choose another model."
        )
    if cfg.kind != "auto":
        return cfg.kind
    if is_tower:
        return "vision"
    return "encoder" if config.model_type in ENCODERS else "decoder"


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder; only fast ones tell which characters a token stands for.

    Where there is a tokenizer.json it is used as it stands: transformers 5 would rebuild its parts after the model's
    type, and so split words in another way than the file says. The special tokens and the chat template come from the
    model's class.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not any(is_tokenizer_file(path) for path in folder.iterdir()):
        raise UserError(
            f"{folder} holds no tokenizer, expected tokenizer.json. Put the model's tokenizer files beside its weights."
        )

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(
            f"{folder} has no tokenizer that transformers can load ({type(error).__name__}). "
            "Put the model's tokenizer files beside its weights."
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"{folder} has only a slow tokenizer, expected a tokenizer.json. Save a fast tokenizer there.")
    file = folder / "tokenizer.json"
    if file.is_file():
        found = PreTrainedTokenizerFast(tokenizer_file=str(file), **tokenizer.special_tokens_map)
        found.chat_template = tokenizer.chat_template
        return found
    return tokenizer
