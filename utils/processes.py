"""Several processes that train as one: a GPU each, through lightning-fabric. Alone, every function here is a no-op.

The random draws of a batch are the same in all processes, and each takes its own slice of what was drawn. So what is
learned is what one process would learn of the whole batch, however many share it.
"""

import logging
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=3)  # the others wait for the first process while it evaluates


def rank_here() -> int:
    """This process's number among all, as torchrun, the launcher of lightning-fabric or SLURM says it; the first is 0.

    To be asked before processes have found each other, too. (Tasks that SLURM starts have no LOCAL_RANK, those that
    the launcher starts within a SLURM job have.)
    """
    return int(next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0))


def local_rank_here() -> int:
    """The same among the processes of this machine: the number of its GPU."""
    return int(next((os.environ[name] for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), 0))


def launch(device: torch.device, named: str, processes: int | None, batch: int, idle_weights: bool = False) -> Any:
    """A lightning_fabric.Fabric with all processes of the run: those that torchrun or SLURM started, else `processes`
    on this machine (default: one for every visible GPU; one on a CPU, or on a device that is `named` with its number).

    The script starts again in each process, so this comes after all that can be wrong with what a person gave.
    `batch`: what they share. `idle_weights`: the model has weights that no loss reaches. Raises ValueError for more
    processes than there is work or GPUs for.
    """
    from lightning_fabric import Fabric  # takes seconds to import: only training wants it
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    nodes, plugins = 1, []
    tasks = int(os.environ.get("SLURM_NTASKS", 1)) if "SLURM_STEP_ID" in os.environ else 1
    if dist.is_torchelastic_launched():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // here
    elif tasks > 1:
        nodes = int(os.environ["SLURM_NNODES"])
        here = tasks // nodes
    else:
        gpus = torch.cuda.device_count() if device.type == "cuda" and ":" not in named else 1
        here = processes or gpus
        plugins = [LightningEnvironment()]
    if device.type == "cuda" and here > torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise ValueError(f"{here} processes want a GPU each and {seen} can be seen here (SLURM: no --gpus-per-task)")
    if here * nodes > batch:
        raise ValueError(f"--batch-size {batch} has nothing to do for some of {here * nodes} processes: give more")
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    several = here * nodes > 1
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index] if device.type == "cuda" and not several else here,
        num_nodes=nodes,
        strategy=DDPStrategy(timeout=PATIENCE, find_unused_parameters=idle_weights) if several else "auto",
        plugins=plugins,
    )
    fabric.launch()
    return fabric


def several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def slice_here(batch: int) -> slice:
    """The rows of a batch that are this process's."""
    if not several():
        return slice(0, batch)
    rank, world = dist.get_rank(), dist.get_world_size()
    return slice(rank * batch // world, (rank + 1) * batch // world)


def share_here(count: Tensor) -> Tensor | float:
    """What to multiply a mean over `count` items of this process with, so that the mean of the products over all
    processes, as gradients are averaged, is the mean over all items.
    """
    if not several():
        return 1.0
    total = count.detach().float()
    dist.all_reduce(total)
    return count * dist.get_world_size() / total


def mean_of_all(value: Tensor) -> Tensor:
    """The mean over processes."""
    if several():
        value = value.detach().clone()
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def rows_of_all(rows: Tensor) -> Tensor:
    """Rows [N, ...] of every process, one's after the other's: in the order of the whole batch. N may differ."""
    if not several():
        return rows
    counts = torch.zeros(dist.get_world_size(), dtype=torch.long, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    dist.all_reduce(counts)
    size = int(counts.max())
    padded = torch.cat((rows, rows.new_zeros(size - len(rows), *rows.shape[1:])))
    found = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(found, padded)
    return torch.cat([part[:count] for part, count in zip(found, counts.tolist())])


def of_all(value: Any) -> list:
    """A plain value of every process."""
    if not several():
        return [value]
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def wait_for_all() -> None:
    if several():
        dist.barrier()
