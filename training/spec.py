"""All that decides one autoencoder, and where it lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae import artefact
from sae.config import BatchTopKConfig, JumpReLUConfig, MatryoshkaConfig, SAEConfig, TopKConfig
from training.config import TrainingConfig

METRICS_FILE = "metrics.json"
NOT_DECISIVE = {"hook_points", "saes_at_once", "hook_points_at_once"}
"""Settings that change no byte of a result."""


@dataclass(frozen=True)
class Fit:
    """All that decides one autoencoder."""

    run: Path
    """The run folder."""
    hook_point: str
    sae: SAEConfig
    training: TrainingConfig
    seed: int
    store_id: str
    threads: int
    """Threads of the arithmetic; another number may give other last bits."""

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        settings = (self.sae.model_dump(mode="json"), self.training.model_dump(mode="json", exclude=NOT_DECISIVE))
        return artefact.content_hash(settings, self.hook_point, self.seed, self.store_id, self.threads)

    @property
    def stream_key(self) -> tuple[Any, ...]:
        """What decides the batches it sees: fits with the same can share them."""
        return (self.hook_point, *self.pass_key)

    @property
    def pass_key(self) -> tuple[Any, ...]:
        """The same but for the hook point: fits with the same can share a pass over the store."""
        cfg = self.training
        settings = (cfg.batch_tokens, cfg.shuffle_tokens, cfg.exclude_special_tokens, cfg.max_norm_ratio, cfg.repeat)
        return (self.run, self.store_id, self.seed, self.threads, cfg.device, *settings)

    @property
    def sae_id(self) -> str:
        """Readable name of the autoencoder, unique in the run."""
        return f"{named(self.sae)}-{self.key[:8]}"

    @property
    def folder(self) -> Path:
        return self.run / "saes" / self.hook_point / self.sae_id

    @property
    def is_complete(self) -> bool:
        return (self.folder / METRICS_FILE).is_file()

    @property
    def log_name(self) -> str:
        """Name of its W&B run."""
        return f"{self.hook_point}/{self.sae_id}"

    @property
    def log_config(self) -> dict[str, Any]:
        """Settings that its W&B run shows."""
        sections = {"sae": self.sae.model_dump(mode="json"), "training": self.training.model_dump(mode="json")}
        return {"hook_point": self.hook_point, "seed": self.seed, **sections}


def named(sae: SAEConfig) -> str:
    """Readable name of an autoencoder's settings: architecture, width and sparsity."""
    match sae:
        case TopKConfig() | BatchTopKConfig() | MatryoshkaConfig():
            detail = f"-k{sae.k}"
        case JumpReLUConfig() if sae.target_l0 is not None:
            detail = f"-l0_{sae.target_l0:g}"
        case _:
            detail = ""
    return f"{sae.architecture}-x{sae.expansion_factor}{detail}"
