"""The place of a process, as launchers tell it."""

from __future__ import annotations

import pytest

from medseg.launcher import Place, find_place, first_host, take_own_gpu, tasks_per_node

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}
SBATCH = {
    "SLURM_JOB_ID": "1234",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODELIST": "gpu[01-02]",
}
SRUN = {
    **SBATCH,
    "SLURM_STEP_ID": "5",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "gpu[01-02]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_PROCID": "2",
    "SLURM_NODEID": "1",
}


def test_torchrun() -> None:
    place = Place(rank=3, world=4, local_rank=1, local_world=2, address="node1", port=29500)
    assert find_place(TORCHRUN) == place
    assert find_place({**SRUN, **TORCHRUN}) == place  # torchrun within srun, one per node


def test_srun() -> None:
    place = find_place(SRUN)
    assert place == Place(
        rank=2, world=3, local_rank=0, local_world=1, address="gpu01", port=20_000 + 7 * 1234 + 5
    )
    named = find_place({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000"})
    assert named is not None
    assert (named.address, named.port) == ("10.0.0.1", 4000)
    other = find_place({**SRUN, "SLURM_STEP_ID": "6"})
    assert other is not None
    assert other.port != place.port  # two trainings in one job


@pytest.mark.parametrize(
    "environ",
    [
        {},
        SBATCH,  # the script itself is one process, however many tasks the job has
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
        {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"},
        {"RANK": "1", "WORLD_SIZE": "2"},  # whoever set these told no address
    ],
)
def test_alone(environ: dict[str, str]) -> None:
    assert find_place(environ) is None


def test_lists_as_slurm_writes_them() -> None:
    assert first_host("127.0.0.1") == "127.0.0.1"
    assert first_host("gpu[3,5-7]") == "gpu3"
    assert first_host("big,gpu[1-2]") == "big"
    assert tasks_per_node("2") == [2]
    assert tasks_per_node("1,8(x3),2") == [1, 8, 8, 8, 2]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "1"),  # all of the machine's: the one of this number
        ("4,6,7", "6"),
        ("GPU-aa,GPU-bb", "GPU-bb"),
        ("5", "5"),  # the launcher has chosen
        ("", ""),  # hidden by the user
    ],
)
def test_each_process_sees_its_own_gpu(before: str | None, after: str) -> None:
    environ = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    place = find_place(TORCHRUN)
    assert place is not None
    take_own_gpu(place, environ)
    assert environ["CUDA_VISIBLE_DEVICES"] == after


def test_more_processes_than_gpus_see_none_and_one_alone_sees_all() -> None:
    place = Place(rank=2, world=3, local_rank=2, local_world=3, address="", port=0)
    environ = {"CUDA_VISIBLE_DEVICES": "0,1"}
    take_own_gpu(place, environ)
    assert environ["CUDA_VISIBLE_DEVICES"] == ""
    environ = {}
    take_own_gpu(Place(rank=1, world=2, local_rank=0, local_world=1, address="", port=0), environ)
    assert environ == {}
