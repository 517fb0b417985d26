"""One autoencoder, several processes: each holds all of it and sees its share of every batch.

What must come out is the training of one process: the same loss L of the whole batch, the same gradient.

1. L = F(m₁, …, m_J, θ), where each mⱼ is a mean over the batch: of squared errors, of squared distances from the
   centre, of active features. F is no mean itself: it divides by a variance, or squares the distance of the mean L0
   from its target. So it is not the losses of the shares that are averaged, but the mⱼ: with n shares of equal size,
   mⱼ = (1/n) Σᵣ mⱼʳ. Then every process has the L of the whole batch (`average`).
2. dL/dθ = Σⱼ ∂F/∂mⱼ · (1/n) Σᵣ ∂mⱼʳ/∂θ + ∂F/∂θ = (1/n) Σᵣ gʳ with gʳ = Σⱼ ∂F/∂mⱼ · ∂mⱼʳ/∂θ + ∂F/∂θ, since ∂F/∂mⱼ
   and ∂F/∂θ are the same in every process. gʳ is what process r gets if the derivative of `average` is taken to be 1,
   so its backward pass hands the gradient through and sends nothing; then one average of the gradients is exact
   (`average_gradients`), before they are projected and clipped.
3. Step 2 needs every mⱼʳ to depend on θ directly. A mean under another mean, such as the centre in a variance, must be
   a constant: then its ∂m/∂θ is 0. It is, for the variances of inputs and of detached errors.
4. Counts of where features fire are added up, so clocks and dead features are the same everywhere. From the same
   start, the same gradients and the same clocks make the same steps; this is checked at the start and at every
   checkpoint, not assumed.

Sums are added in another order than in one process, so the last bits differ, and where a pre-activation lies at the
border of being kept, a little more.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sae.errors import UserError

PATIENCE = timedelta(hours=1)
"""How long a process waits for another, which may be reading the store or writing a checkpoint. One that died is not
waited for: torchrun ends the others."""


class Cost(NamedTuple):
    """What a stage took in some processes."""

    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Replicas:
    """This process among those that train together; alone by default, and then nothing is sent."""

    rank: int = 0
    """Its number, from 0."""
    n_replicas: int = 1
    device: str = "cpu"
    """Where its copy of the autoencoder lives."""

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Joins the others: over NCCL from GPU to GPU, else over Gloo."""
        if self.n_replicas == 1:
            yield
            return
        if self.device != "cpu":
            torch.cuda.set_device(self.device)
        importlib.import_module(
            "torch.distributed.nn"
        )  # before: its functions keep the group they find, and its threads
        dist.init_process_group("gloo" if self.device == "cpu" else "nccl", timeout=PATIENCE)
        yield
        dist.destroy_process_group()  # not after a failure: it could wait for a process that is gone

    def refuse_uneven(self, batch_tokens: int) -> None:
        """Stops before batches that cannot be shared evenly.

        Raises:
            UserError: Some process would get more of a batch than another.
        """
        if batch_tokens % self.n_replicas:
            raise UserError(
                f"training.batch_tokens is {batch_tokens}, but torchrun started {self.n_replicas} processes, expected a "
                "multiple of their number. Change one of the two."
            )

    def share(self, batch: Tensor) -> Tensor:
        """This process' rows of a batch, on its device."""
        n_rows = len(batch) // self.n_replicas
        return batch[self.rank * n_rows : (self.rank + 1) * n_rows].to(self.device)

    def add_up(self, tensor: Tensor) -> None:
        """Replaces a tensor by its sum over all processes, in place.

        Raises:
            UserError: Another process is gone.
        """
        if self.n_replicas == 1:
            return
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise UserError(
                f"Process {self.rank} of {self.n_replicas} lost the others while training, expected all to stay to the end. "
                "See what the first that failed says, and run the same command again: it goes on from the last checkpoint."
            ) from error

    def total(self, count: int) -> int:
        """The sum of a count over all processes, so that they decide alike by it."""
        if self.n_replicas == 1:
            return count
        counts = torch.tensor([count], dtype=torch.int64, device=self.device)
        self.add_up(counts)
        return int(counts)

    def average(self, mean: Tensor) -> Tensor:
        """The mean over the whole batch, of the means over its shares; its derivative is 1 (step 2 above)."""
        return mean if self.n_replicas == 1 else Averaged.apply(mean, self)  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives every process the gradient of the whole batch's loss, in one message."""
        if self.n_replicas == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffer = torch.cat([gradient.flatten() for gradient in gradients])
        self.add_up(buffer)
        buffer /= self.n_replicas
        parts = buffer.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def refuse_difference(self, fingerprint: int, what: str) -> None:
        """Stops where the processes would train different things.

        Args:
            fingerprint: 64-bit hash of what should be the same everywhere.
            what: Its name.

        Raises:
            UserError: It is not.
        """
        found = torch.zeros(self.n_replicas, dtype=torch.int64, device=self.device)
        found[self.rank] = fingerprint - 2**63
        self.add_up(found)
        n_found = len(set(found.tolist()))
        if n_found > 1:
            raise UserError(
                f"The {self.n_replicas} processes hold {n_found} different states of {what}, expected one. Start them on "
                "machines of one kind, with the same versions of clinlens and torch and the same run folder."
            )

    def cost_elsewhere(self, own: Cost) -> Cost:
        """What all processes but the leader took; the leader measures itself."""
        sums = torch.tensor(Cost(0, 0) if self.leads else own, dtype=torch.float64, device=self.device)
        self.add_up(sums)
        return Cost(float(sums[0]), int(sums[1]))


ALONE = Replicas()


class Averaged(torch.autograd.Function):
    """`Replicas.average`."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, replicas: Replicas) -> Tensor:
        total = mean.clone(memory_format=torch.contiguous_format)
        replicas.add_up(total)
        return total / replicas.n_replicas

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


def launched(environment: Mapping[str, str]) -> Replicas:
    """This process among those that torchrun started, from the variables it sets; alone where it did not.

    Raises:
        UserError: There are GPUs, but not one for each process.
    """
    n_replicas = int(environment.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in environment else 1
    if n_replicas == 1:
        return ALONE
    rank, local_rank = int(environment["RANK"]), int(environment["LOCAL_RANK"])
    if not torch.cuda.is_available():
        return Replicas(rank, n_replicas)
    n_here, n_gpus = int(environment.get("LOCAL_WORLD_SIZE", n_replicas)), torch.cuda.device_count()
    if n_here > n_gpus:
        raise UserError(
            f"torchrun started {n_here} processes on a machine with {n_gpus} GPUs, expected at most one per GPU. "
            "Lower --nproc-per-node."
        )
    return Replicas(rank, n_replicas, f"cuda:{local_rank}")
