"""The trainers that take turns: ours, and each peer's own, step by step."""

import contextlib
import io
import os
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from benchmarks.harness.peers import quiet
from benchmarks.harness.report import Report
from sae.base import SAE
from sae.jumprelu import JumpReLUSAE
from sae.sparse.engine import SparseEngine
from training.trainee import descend, new_optimiser


class Shape(NamedTuple):
    """Sizes of a race."""

    d_in: int
    expansion: int
    k: int
    batch: int

    @property
    def d_sae(self) -> int:
        return self.d_in * self.expansion


class Trainer(Protocol):
    """What takes its turns."""

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What takes its steps."""
        ...

    def step(self, x: Tensor) -> None:
        """One, on a batch."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂, by the weights as they are."""
        ...

    @property
    def decoder(self) -> Tensor:
        """[d_sae, d_in], one row for each feature."""
        ...


def slow(trainer: Trainer, factor: float) -> None:
    """Sets a trainer's learning rate for its next step to a share of the one it began with."""
    for group in trainer.optimiser.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


class Ours:
    """Our whole step. `engine` none means dense."""

    def __init__(self, sae: SAE, lr: float, engine: SparseEngine | None) -> None:
        self.sae, self.engine = sae, engine
        self.optimiser = new_optimiser(sae, lr)
        self._silent = torch.zeros(sae.d_sae, dtype=torch.int64)
        self.n_codes = 0

    def step(self, x: Tensor) -> None:
        """One."""
        dead = self._silent >= 200 * len(x)
        sae, engine = self.sae, self.engine
        losses = sae.losses(x, dead, 1.0) if engine is None else sae.sparse_losses(x, dead, 1.0, engine)
        descend(self.sae, self.optimiser, losses.total, 1.0)
        self.sae.observe(losses)
        self._silent.add_(len(x)).masked_fill_(losses.fired > 0, 0)
        self.n_codes = losses.n_codes

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂."""
        return self.sae(x).reconstruction

    @property
    def decoder(self) -> Tensor:
        return self.sae.W_dec.detach()


class SAELens:
    """SAELens' own trainer, step by step."""

    def __init__(self, config: Any, lr: float, batch: int, n_steps: int, like: SAE | None = None) -> None:
        from sae_lens import TrainingSAE
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        torch.manual_seed(0)
        settings = SAETrainerConfig(
            total_training_samples=n_steps * batch, train_batch_size_samples=batch, lr=lr, lr_end=lr
        )
        with quiet():
            self.sae = TrainingSAE.from_dict(config.to_dict())
            self._trainer = SAETrainer(settings, self.sae, iter(()))
        self.optimiser = self._trainer.optimizer
        if like is not None:
            with torch.no_grad():
                for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
                    getattr(self.sae, name).copy_(getattr(like, name))
                if isinstance(like, JumpReLUSAE):
                    self.sae.threshold.copy_(like.threshold)

    def step(self, x: Tensor) -> None:
        """One."""
        with quiet():
            self._trainer.step(x)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂."""
        return self.sae.decode(self.sae.encode(x))

    @property
    def decoder(self) -> Tensor:
        return self.sae.W_dec.detach()


class Sparsify:
    """sparsify's coder with Adam, in the order of its trainer's loop."""

    def __init__(self, shape: Shape, lr: float, like: SAE | None = None) -> None:
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its kernels want a GPU wherever Triton is installed
        with contextlib.redirect_stdout(io.StringIO()):
            from sparsify import SparseCoder, SparseCoderConfig

        torch.manual_seed(0)
        self.coder = SparseCoder(shape.d_in, SparseCoderConfig(expansion_factor=shape.expansion, k=shape.k))
        if like is not None:
            with torch.no_grad():
                self.coder.encoder.weight.copy_(like.W_enc.T)
                self.coder.encoder.bias.copy_(like.b_enc)
                self.coder.W_dec.copy_(like.W_dec)
                self.coder.b_dec.copy_(like.b_dec)
        self.optimiser = torch.optim.Adam(self.coder.parameters(), lr=lr)

    def step(self, x: Tensor) -> None:
        """One."""
        self.coder.set_decoder_norm_to_unit_norm()
        self.coder(x=x, y=x, dead_mask=None).fvu.backward()
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.optimiser.step()
        self.optimiser.zero_grad()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂."""
        return self.coder(x=x, y=x, dead_mask=None).sae_out

    @property
    def decoder(self) -> Tensor:
        return self.coder.W_dec.detach()


class DictionaryLearning:
    """dictionary_learning's own TopK trainer, without warm-up."""

    def __init__(self, shape: Shape, lr: float, n_steps: int, like: SAE | None = None) -> None:
        from dictionary_learning.trainers.top_k import TopKTrainer

        self._trainer = TopKTrainer(
            n_steps,
            shape.d_in,
            shape.d_sae,
            shape.k,
            layer=0,
            lm_name="none",
            lr=lr,
            warmup_steps=0,
            seed=0,
            device="cpu",
        )
        self.optimiser = self._trainer.optimizer
        self._number = 0
        if like is not None:
            coder = self._trainer.ae
            with torch.no_grad():
                coder.encoder.weight.copy_(like.W_enc.T)
                coder.encoder.bias.copy_(like.b_enc)
                coder.decoder.weight.copy_(like.W_dec.T)
                coder.b_dec.copy_(like.b_dec)
            self._number = 1  # the first one would set the bias

    def step(self, x: Tensor) -> None:
        """One."""
        self._trainer.update(self._number, x)
        self._number += 1

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂."""
        return self._trainer.ae(x)

    @property
    def decoder(self) -> Tensor:
        return self._trainer.ae.decoder.weight.detach().T


def has_dictionary_learning(report: Report) -> bool:
    """Whether it can be imported; says so where not."""
    try:
        import dictionary_learning.trainers.top_k  # noqa: F401
    except ImportError as error:
        report.say(f"dictionary_learning is left out: {error}")
        return False
    return True
