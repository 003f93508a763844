"""Devices, precision, seeds and the folder of a run."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.runtime import Run, autocast, pick_device, pick_precision, seed_everything


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("toaster", "", "cuda:99", "cpu:x"):
        with pytest.raises(ValueError, match="cannot be used"):
            pick_device(name)


def test_seeds():
    def draws(seed):
        seed_everything(seed)
        return random.random(), np.random.random(), torch.rand(1).item()

    first, other = draws(1), draws(2)
    assert draws(1) == first
    assert all(a != b for a, b in zip(first, other))
    assert draws(2**40 + 3) == draws(2**40 + 3)


def test_precision():
    cpu = torch.device("cpu")
    assert pick_precision("32", cpu) == "32" and pick_precision("bf16", cpu) == "bf16"
    assert pick_precision("auto", cpu) in ("32", "bf16")
    a = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with autocast(cpu, "bf16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(cpu, "32"):
        assert (a @ a).dtype == torch.float32


@dataclass(frozen=True)
class Options:
    lr: float = 2e-4
    steps: tuple[int, ...] = (1, 2)


def test_run_folder(tmp_path, capsys):
    folder = tmp_path / "vq/first"
    for step, loss in ((10, 0.5), (20, 0.25)):  # the second run goes on in the same folder
        run = Run(folder, Options())
        run.report(step, {"Train/loss": loss})
        run.close()
    assert json.loads((folder / "config.json").read_text()) == {"lr": 2e-4, "steps": [1, 2]}
    lines = (folder / "run.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["step 10: Train/loss 0.5", "step 20: Train/loss 0.25"]
    assert "step 20: Train/loss 0.25" in capsys.readouterr().out

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("Train/loss")] == [(10, 0.5), (20, 0.25)]


def test_tensorboard_is_imported_by_training_only():
    code = "import sys, utils.runtime; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
