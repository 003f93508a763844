"""Device, precision, seeds and logs: decided here once, so that no model or loader has to."""

import dataclasses
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.files import write_text


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is the first GPU where there is one, else the CPU. Raises ValueError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used here: give auto, cpu or cuda") from error
    return device


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context a model runs in: precision "bf16" computes matrix products in bfloat16, "32" in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def pick_precision(name: str, device: torch.device) -> str:
    """ "auto" is bfloat16 where the processor or GPU multiplies it faster than float32, else 32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "32"
    capability = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else ""
    return "bf16" if "AVX512" in capability or "AMX" in capability else "32"


class Run:
    """One training run's folder: config.json, run.log, TensorBoard events. ValueError where it cannot be written."""

    def __init__(self, folder: str | Path, options: Any):
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import: only training wants it

        self.folder = Path(folder)
        try:
            write_text(self.folder / "config.json", json.dumps(dataclasses.asdict(options), indent=2) + "\n")
        except OSError as error:
            raise ValueError(f"cannot write the run to {folder}: {error}") from error
        self.log = open(self.folder / "run.log", "a", encoding="utf-8")  # noqa: SIM115, closed by `close`
        self.events = SummaryWriter(str(self.folder))

    def say(self, line: str) -> None:
        """One line to the terminal and to run.log."""
        print(line, flush=True)
        self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        self.log.flush()

    def report(self, step: int, figures: dict[str, float]) -> None:
        """Figures of a step, to terminal, run.log and TensorBoard."""
        for name, value in figures.items():
            self.events.add_scalar(name, value, step)
        self.say(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def close(self) -> None:
        self.events.close()
        self.log.close()
