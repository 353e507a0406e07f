"""The processes that train together: begun by torchrun, or this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from stages.common import UserError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number.
        world_size: how many there are.
        device: torch device of this one.
    """

    rank: int
    world_size: int
    device: str

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        value = value.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def from_first(self, value: str) -> str:
        """The first process's value, in all of them."""
        values = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in order of rank, without gradient; each process has as many."""
        rows = rows.detach().contiguous()
        if self.world_size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world_size)]
        dist.all_gather(parts, rows)
        return torch.cat(parts)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun began, as its environment says: nccl on GPUs, gloo on CPUs.

    Args:
        device: `auto`, `cpu` or `cuda`.
    """
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Processes(0, 1, "cuda" if cuda else "cpu")
        return
    if lacking := [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UserError(
            f"WORLD_SIZE is {world_size}, but {lacking[0]} is not set; start several processes by torchrun, "
            "or unset WORLD_SIZE for one"
        )
    local = int(os.environ["LOCAL_RANK"])
    if cuda:
        torch.cuda.set_device(local)
    # The others wait while the first lists shards or scores held-out regions.
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=6))
    try:
        yield Processes(dist.get_rank(), world_size, f"cuda:{local}" if cuda else "cpu")
    finally:
        dist.destroy_process_group()
