"""Two processes on the CPU learn what one does of the same batches, and the first alone writes."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_t2m_trans
import train_vq
from dataset.spec import BANDAI
from models.quantize import RESET_EVERY
from tests.conftest import ROOT
from tests.kill_resume import TRANS, VQ, tensors
from tests.tiny import make_checkpoints, make_dataset, refusal, run_script
from utils.checkpoint import load_checkpoint
from utils.processes import rows_of_all, share_here, slice_here

# codebooks that are replaced in part, and batches that two processes cannot share evenly
STEPS = ["--total-iter", str(RESET_EVERY + 2), "--print-iter", "2", "--eval-iter", "11", "--batch-size", "5"]
ALONE, SHARED = "alone", "shared"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """OUT_DIR with both stages' runs of one process and of two: started by the launcher, and by torchrun."""
    out = tmp_path_factory.mktemp("processes")
    data, tiny = make_dataset(out / "data", BANDAI), make_checkpoints(out / "tiny")
    common = ["--dataname", "bandai", "--data-root", data, "--out-dir", out]
    vq = [*common, *VQ, *STEPS]
    # dropout is drawn by each process for itself
    trans = [*common, *TRANS, *STEPS, "--resume-pth", tiny.vq, "--drop-out-rate", "0"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29417"]
    commands = [
        [sys.executable, "train_vq.py", *vq, "--processes", "2", "--exp-name", SHARED],
        [*torchrun, "train_t2m_trans.py", *trans, "--exp-name", SHARED],
    ]
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(shell, command) for command in commands]
        run_script(train_vq, *vq, "--exp-name", ALONE)
        run_script(train_t2m_trans, *trans, "--exp-name", ALONE)
        return out, [done.result() for done in running]


def shell(command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("stage", ["vq", "."])
def test_losses_and_weights_are_those_of_one_process(made, stage):
    out, _ = made
    folders = out / stage / ALONE, out / stage / SHARED
    one, two = (tensors(load_checkpoint(folder / "net_last.pth")) for folder in folders)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name].double(), two[name].double(), atol=1e-4, rtol=0), name
    found = [EventAccumulator(str(folder)) for folder in folders]
    for events in found:
        events.Reload()
    tags = {tag for tag in found[0].Tags()["scalars"] if "per_second" not in tag}
    assert {"train/total", "train/commit", "train/steps"} <= tags or {"train/loss", "train/masked_right"} <= tags
    for tag in tags:
        one, two = ([(event.step, event.value) for event in events.Scalars(tag)] for events in found)
        assert one == [(step, pytest.approx(value, abs=1e-4)) for step, value in two], tag


def test_the_first_process_alone_writes(made):
    out, printed = made
    for stage, text in zip(("vq", "."), printed):
        names = [
            [re.sub(r"tfevents.*", "", path.name) for path in (out / stage / name).iterdir()]
            for name in (ALONE, SHARED)
        ]
        assert sorted(names[0]) == sorted(names[1])
        assert len((out / stage / SHARED / "run.log").read_text().splitlines()) == len(text.splitlines())


def test_more_processes_than_items(made, capsys, tmp_path):
    data = made[0] / "data"
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path, *VQ, "--processes", "9"]
    assert "--batch-size 4" in refusal(capsys, train_vq, *given)


@pytest.fixture
def as_one_of(monkeypatch):
    """Makes this process think that it is one of several; what they would say comes from `said`."""

    def become(rank, world, said=None):
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_world_size", lambda: world)
        monkeypatch.setattr(dist, "get_rank", lambda: rank)
        monkeypatch.setattr(dist, "all_reduce", lambda tensor, *_: tensor.copy_(said(tensor)) if said else None)

    return become


@pytest.mark.parametrize("batch, world", [(8, 2), (5, 2), (7, 3), (3, 3)])
def test_slices_share_a_batch_without_overlap(as_one_of, batch, world):
    found = []
    for rank in range(world):
        as_one_of(rank, world)
        found += range(batch)[slice_here(batch)]
        assert len(range(batch)[slice_here(batch)]) >= batch // world
    assert found == list(range(batch))


def test_a_mean_counts_by_its_items(as_one_of):
    parts = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0])
    means = []
    for rank, part in enumerate(parts):
        as_one_of(rank, 2, lambda _: torch.tensor(4.0))
        means.append(part.mean() * share_here(torch.tensor(len(part))))
    assert sum(means) / 2 == torch.cat(parts).mean()


def test_alone_nothing_is_changed():
    rows = torch.randn(3, 2)
    assert rows_of_all(rows) is rows and share_here(torch.tensor(3)) == 1.0 and slice_here(5) == slice(0, 5)
