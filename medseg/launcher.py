"""What torchrun, srun or Kubernetes tells a process of its place among those it started."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Which process this is, and where the first one is found.

    Attributes
    ----------
    rank, world : int
        Number of this process and of all.
    local_rank, local_world : int
        The same on this machine.
    address, port : str, int
        Of the store.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    address: str
    port: int


def find_place(environ: Mapping[str, str]) -> Place | None:
    """Read the launcher's variables; None where this process was started alone.

    torchrun (and Kubernetes' PyTorchJob) set ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
    ``MASTER_PORT``; srun sets ``SLURM_PROCID`` and ``SLURM_STEP_NUM_TASKS``. The variables of an
    sbatch script without srun do not count: there is one process, however many tasks it asks for.

    Examples
    --------
    >>> find_place({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None
    True
    """
    if all(name in environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        place = Place(
            rank=int(environ["RANK"]),
            world=int(environ["WORLD_SIZE"]),
            local_rank=int(environ.get("LOCAL_RANK", 0)),
            local_world=int(environ.get("LOCAL_WORLD_SIZE", 1)),
            address=environ["MASTER_ADDR"],
            port=int(environ["MASTER_PORT"]),
        )
        return place if place.world > 1 else None
    if int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environ:
        return _slurm_place(environ)
    return None


def _slurm_place(environ: Mapping[str, str]) -> Place:
    """Read srun's variables; two steps of one job get different ports."""
    job, step = (int(environ.get(f"SLURM_{name}_ID", 0)) for name in ("JOB", "STEP"))
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_NODELIST", "127.0.0.1"))
    tasks = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    return Place(
        rank=int(environ["SLURM_PROCID"]),
        world=int(environ["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environ.get("SLURM_LOCALID", 0)),
        local_world=tasks[min(int(environ.get("SLURM_NODEID", 0)), len(tasks) - 1)],
        address=environ.get("MASTER_ADDR", first_host(nodes)),
        port=int(environ.get("MASTER_PORT", 20_000 + (7 * job + step) % 10_000)),
    )


def first_host(nodes: str) -> str:
    """Return the first host of a list as Slurm writes it.

    Examples
    --------
    >>> first_host("gpu[007-009,12],login1"), first_host("a,b"), first_host("rack[2,4]-n[1-3]")
    ('gpu007', 'a', 'rack2-n1')
    """
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first)


def tasks_per_node(text: str) -> list[int]:
    """Expand a count per node as Slurm writes it.

    Examples
    --------
    >>> tasks_per_node("4(x2),1")
    [4, 4, 1]
    """
    counts = []
    for part in text.split(","):
        number, _, times = part.rstrip(")").partition("(x")
        counts += [int(number)] * int(times or 1)
    return counts


def take_own_gpu(place: Place, environ: MutableMapping[str, str]) -> None:
    """Hide the GPUs of this machine's other processes, so that ``cuda:0`` is this one's own.

    A launcher that shows each process a single GPU (``srun --gpus-per-task=1``) has done so.
    """
    if place.local_world == 1:
        return
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        environ["CUDA_VISIBLE_DEVICES"] = str(place.local_rank)
        return
    names = [name for name in listed.split(",") if name]
    if len(names) > 1:
        own = names[place.local_rank : place.local_rank + 1]
        environ["CUDA_VISIBLE_DEVICES"] = "".join(own)
