"""Settings of training, evaluation, tracking, the engine and the cost estimate."""

import os
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from sae.config import Settings


class TrainingConfig(Settings, frozen=True):
    """How every SAE of a run is fitted."""

    hook_points: tuple[str, ...] | None = Field(
        default=None,
        description="Hook points to train at, of those that were captured; every one if unset. `*` stands for any layer.",
    )
    n_tokens: PositiveInt = Field(
        default=2_000_000, description="Tokens seen in training; see `repeat` for a store that has fewer."
    )
    batch_tokens: PositiveInt = Field(default=4096, description="Tokens per optimiser step.")
    lr: PositiveFloat | None = Field(
        default=None, description="Learning rate of Adam after its warm-up; 0.2 / √d_sae if unset."
    )
    lr_warmup: float = Field(
        default=0.05, ge=0, le=1, description="Share of the steps over which the learning rate rises from 0."
    )
    lr_decay: float = Field(
        default=0.2, ge=0, le=1, description="Share of the steps, at the end, over which it falls to 0."
    )
    sparsity_warmup: float = Field(
        default=0.1, ge=0, le=1, description="Share of the steps over which the sparsity penalty rises from 0."
    )
    gradient_clip: PositiveFloat = Field(default=1.0, description="Largest norm of a gradient.")
    dead_after_tokens: PositiveInt | None = Field(
        default=None,
        description="A feature silent for so many tokens counts as dead; a tenth of n_tokens, at most 10 million, if unset.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where SAEs are trained; auto means a GPU where there is one."
    )
    kernels: Literal["auto", "torch", "numba", "triton", "dense"] = Field(
        default="auto",
        description="What computes sparse steps: numba where it is installed and the SAE is on a CPU, else torch; `triton` is "
        "for CUDA and adds up in one order, so that a resumed run ends in the same bytes; `dense` never takes a sparse step.",
    )
    encoder_dtype: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="auto",
        description="Arithmetic that selects features in sparse steps; their values are computed in float32 either way. "
        "int8 is for TopK on CPUs with AVX512-VNNI, and `auto` takes it there for wide SAEs; bfloat16 pays on CPUs with AMX and "
        "on GPUs.",
    )
    saes_at_once: PositiveInt = Field(
        default=8,
        description="SAEs of one layer that share a pass over the activations, at most; memory grows with it.",
    )
    hook_points_at_once: PositiveInt = Field(
        default=1,
        description="Layers whose SAEs train in one pass over the store, at most: all of them move forward together. It saves "
        "no time, and each holds its own shuffle_tokens rows.",
    )
    repeat: bool = Field(
        default=True, description="Read the store again where it has fewer tokens than n_tokens; else that is refused."
    )
    shuffle_tokens: PositiveInt = Field(
        default=131_072, description="Rows that are mixed in memory, from blocks read in random order."
    )
    exclude_special_tokens: bool = Field(default=True, description="Leave out BOS, CLS, SEP and their kin.")
    max_norm_ratio: PositiveFloat | None = Field(
        default=10.0, description="Leave out rows whose norm is more than so many times the median (attention sinks)."
    )
    log_every_steps: PositiveInt = Field(default=20, description="Steps between two rows of the log.")
    checkpoint_every_steps: PositiveInt = Field(
        default=200, description="Steps between two checkpoints; what a kill can lose."
    )

    @field_validator("hook_points", mode="before")
    @classmethod
    def one_is_a_list(cls, value: Any) -> Any:
        """A single hook point may be written without a list."""
        return [value] if isinstance(value, str) else value

    @property
    def n_steps(self) -> int:
        return max(self.n_tokens // self.batch_tokens, 1)

    @property
    def dead_window_tokens(self) -> int:
        """Tokens of silence after which a feature counts as dead. Source: 10 million in Gao et al. 2024."""
        return self.dead_after_tokens or min(10_000_000, max(self.n_tokens // 10, self.batch_tokens))


class FinetuningConfig(Settings, frozen=True):
    """How a trained SAE is fine-tuned end to end: on what the model answers with its reconstruction spliced in."""

    n_tokens: PositiveInt = Field(default=200_000, description="Tokens of training documents that are read, about.")
    batch_tokens: PositiveInt = Field(
        default=2048,
        description="Most tokens of a step, padding included; the model's logits for all are held at once.",
    )
    lr: PositiveFloat | None = Field(
        default=None,
        description="Learning rate of Adam after its warm-up; a tenth of what the SAE was trained with if unset.",
    )
    lr_warmup: float = Field(default=0.1, ge=0, le=1, description="Share of the steps over which it rises from 0.")
    lr_decay: float = Field(
        default=0.5, ge=0, le=1, description="Share of the steps, at the end, over which it falls to 0."
    )
    reconstruction: NonNegativeFloat = Field(
        default=0.0,
        description="Weight of the squared error beside the KL divergence, both in the size they have before the first step: "
        "0 trains on answers alone, 1 on both alike. Matryoshka's groups are held by this term alone.",
    )
    sparsity: NonNegativeFloat = Field(
        default=1.0,
        description="Weight of the SAE's own sparsity and auxiliary terms, as they stood to its squared error in training.",
    )
    gradient_clip: PositiveFloat = Field(default=1.0, description="Largest norm of a gradient.")
    log_every_steps: PositiveInt = Field(default=10, description="Steps between two rows of the log.")
    checkpoint_every_steps: PositiveInt = Field(default=50, description="Steps between two checkpoints.")

    @property
    def schedule(self) -> TrainingConfig:
        """The same as settings of training: steps, and how the learning rate changes over them."""
        return TrainingConfig(
            n_tokens=self.n_tokens, batch_tokens=self.batch_tokens, lr=self.lr, lr_warmup=self.lr_warmup,
            lr_decay=self.lr_decay, sparsity_warmup=0, gradient_clip=self.gradient_clip,
        )  # fmt: skip


class EvaluationConfig(Settings, frozen=True):
    """What is measured on held-out documents."""

    n_tokens: PositiveInt = Field(
        default=200_000, description="Held-out rows for reconstruction and densities, at most."
    )
    splice_tokens: PositiveInt = Field(
        default=16_384, description="Held-out tokens for what the spliced model loses, at most."
    )


class TrackingConfig(Settings, frozen=True):
    """Where training is logged, beside the JSONL that is always written."""

    wandb: Literal["offline", "online", "disabled"] = Field(
        default="offline",
        description="W&B mode; only `online` uses the network. Holds no text of the corpus, unless `examples` asks for it.",
    )
    project: str = Field(default="clinlens", description="W&B project.")
    artefacts: bool = Field(
        default=False, description="Keep each SAE's weights, cfg and figures in W&B as an artefact of type `sae`."
    )
    examples: bool = Field(
        default=False,
        description="Show contexts of features in W&B as a table; only of a corpus that is declared `corpus.shareable`.",
    )
    example_features: PositiveInt = Field(
        default=50, description="Features in that table: so many that fire most often."
    )


class RayConfig(Settings, frozen=True):
    """A Ray cluster, where `engine.kind` is `ray`."""

    address: str | None = Field(
        default=None, description="Address of the head, `host:port`; Ray is started on this machine if unset."
    )


class SlurmConfig(Settings, frozen=True):
    """What Slurm is asked for, where `engine.kind` is `slurm`. Per job."""

    partition: str | None = Field(default=None, description="Partition; the cluster's default if unset.")
    account: str | None = Field(default=None, description="Account that is charged; the cluster's default if unset.")
    minutes: PositiveInt = Field(default=240, description="Time limit.")
    memory_gb: PositiveFloat | None = Field(default=None, description="Memory; the cluster's default if unset.")
    setup: tuple[str, ...] = Field(
        default=(), description="Shell lines run before each job, e.g. `module load cuda`; never a secret."
    )


class EngineConfig(Settings, frozen=True):
    """How the work is spread."""

    kind: Literal["inline", "processes", "ray", "slurm"] = Field(
        default="processes",
        description="One after another, in a pool of processes, on a Ray cluster, or by Slurm. "
        "Ray and Slurm need the run folder at the same path on every machine.",
    )
    workers: PositiveInt | None = Field(
        default=None,
        description="Jobs at once; one per GPU or core if unset, with ray and slurm as many as the cluster takes.",
    )
    threads: PositiveInt = Field(
        default=1,
        description="Threads of each worker's arithmetic. The same number gives the same bytes on any engine.",
    )
    gpus: NonNegativeFloat = Field(
        default=0.0, description="GPUs that each job asks of ray or slurm; a fraction shares one (ray only)."
    )
    retries: NonNegativeInt = Field(
        default=2, description="How often a job is tried again after its worker died or it failed."
    )
    ray: RayConfig = Field(default=RayConfig(), description="The Ray cluster.")
    slurm: SlurmConfig = Field(default=SlurmConfig(), description="What Slurm is asked for.")

    @property
    def is_local(self) -> bool:
        """Whether all work stays in this process and its children."""
        return self.kind in ("inline", "processes")

    @property
    def n_workers(self) -> int:
        """Jobs at once on this machine."""
        if self.kind == "inline":
            return 1
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or max(cores // self.threads, 1)


class CostConfig(Settings, frozen=True):
    """Factors behind the report's energy, CO₂e and cost. Estimates: put your own in."""

    cpu_core_watts: NonNegativeFloat = Field(
        default=10.0, description="Power of one busy core with its share of memory and board, in watts."
    )
    gpu_watts: NonNegativeFloat = Field(default=400.0, description="Power of one busy GPU, in watts.")
    pue: float = Field(default=1.5, ge=1, description="Power usage effectiveness of the building.")
    kg_co2e_per_kwh: NonNegativeFloat = Field(default=0.45, description="Carbon intensity of the electricity.")
    price_per_cpu_core_hour: NonNegativeFloat = Field(default=0.05, description="Price of a core for an hour.")
    price_per_gpu_hour: NonNegativeFloat = Field(default=3.0, description="Price of a GPU for an hour.")
    currency: str = Field(default="USD", description="Currency of the prices.")
