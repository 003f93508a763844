"""Device, precision, seeds and logs: decided here once, so that no model or loader has to."""

import dataclasses
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from utils.files import write_text
from utils.processes import local_rank_here, rank_here, several

AGREE_EVERY = 10  # steps after which several processes ask each other whether to stop


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is a GPU where there is one, else the CPU; of several GPUs the first, in several processes one each.

    Raises ValueError for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", local_rank_here() % max(1, torch.cuda.device_count()))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        others = "auto or cpu" if name.startswith("cuda") else "auto, cpu or cuda"
        raise ValueError(f"device {name!r} cannot be used here: give {others}") from error
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


def fits(device: torch.device, size: int) -> bool:
    """Whether data of so many bytes go onto a GPU and leave it three quarters of what is free now."""
    return device.type == "cuda" and 4 * size < torch.cuda.mem_get_info(device)[0]


class Run:
    """One training run's folder: config.json, run.log, TensorBoard events. ValueError where it cannot be written.

    Of several processes the first alone writes (`writes`); in the others nothing that is said is heard.
    """

    def __init__(self, folder: str | Path, options: Any, resumed: dict | None = None):
        """`resumed`: the state (utils/resume.py) that the run goes on from; its logs are cut back to that step."""
        self.folder, self.options, self.writes = Path(folder), options, rank_here() == 0
        self.first = resumed["step"] + 1 if resumed else 1  # step
        self.bar: tqdm | None = None
        self.signals: list[int] = []  # that asked to stop
        if not self.writes:
            return
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import: only training wants it

        try:
            if resumed:
                self._cut(resumed["logs"])
            write_text(self.folder / "config.json", json.dumps(dataclasses.asdict(options), indent=2) + "\n")
        except OSError as error:
            raise ValueError(f"cannot write the run to {folder}: {error}") from error
        self.log = open(self.folder / "run.log", "a", encoding="utf-8")  # noqa: SIM115, closed by `close`
        self.events = SummaryWriter(str(self.folder))
        if not resumed:
            self._describe()

    def say(self, line: str) -> None:
        """One line to the terminal and to run.log."""
        if not self.writes:
            return
        with tqdm.external_write_mode():  # the bar moves out of its way
            print(line, flush=True)
        self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        self.log.flush()

    def begin(self, *lines: str) -> None:
        """Say what the run works with, or, of one that goes on, from where."""
        going_on = f"going on after step {self.first - 1} of {self.options.total_iter}"
        for line in lines if self.first == 1 else [going_on]:
            self.say(line)

    def report(self, step: int, figures: dict[str, float]) -> None:
        """Figures of a step, to terminal, run.log and TensorBoard."""
        if not self.writes:
            return
        for name, value in figures.items():
            self.events.add_scalar(name, value, step)
        self.say(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def video(self, name: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        """An animated GIF of size (width, height), to TensorBoard. (Its own `add_video` wants a package for films.)"""
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=gif)
        self.events.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def steps(self, last: int) -> Iterator[int]:
        """The steps to do, under a progress bar; SIGTERM and Ctrl-C meanwhile do not end the process but `stopping`.

        A second one ends it.
        """
        before = {}

        def note(number: int, _: Any) -> None:
            self.signals.append(number)
            signal.signal(number, before[number])

        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        done = self.first - 1
        shown = None if self.writes else True  # None: on terminals alone
        try:
            with tqdm(total=last, initial=done, unit="step", dynamic_ncols=True, disable=shown) as self.bar:
                for step in range(self.first, last + 1):
                    yield step
                    self.bar.update()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def progress(self, **figures: float) -> None:
        """Show figures at the end of the bar."""
        if self.bar is not None:
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()})

    def stopping(self, step: int) -> bool:
        """Whether the run has been asked to stop; all processes say the same."""
        if not several():
            return bool(self.signals)
        if step % AGREE_EVERY:
            return False
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        asked = torch.tensor([max(self.signals, default=0)], device=device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        self.signals = [int(asked)] if asked else []
        return bool(asked)

    def sizes(self) -> dict[str, int]:
        """Bytes of run.log and of the event files now: what is appended after this can be cut off again."""
        self.events.flush()
        return {path.name: path.stat().st_size for path in self._logs()}

    def close(self) -> None:
        if self.writes:
            self.events.close()
            self.log.close()

    def stop(self, step: int) -> None:
        """Say that the run was asked to stop; then its state is written, and `leave` ends it."""
        self.say(f"stopped after step {step} by {signal.Signals(self.signals[0]).name}: --resume goes on from there")

    def leave(self) -> None:
        """End the process as stopped: with the status that shells give a process that a signal ended, 128 + number."""
        self.close()
        sys.exit(128 + self.signals[0] if self.writes else 0)  # the launcher takes others that fail for crashed

    def _logs(self) -> list[Path]:
        return sorted([*self.folder.glob("run.log"), *self.folder.glob("events.out.tfevents.*")])

    def _cut(self, sizes: dict[str, int]) -> None:
        """Bring the logs back to these sizes, and take away what a killed process was writing."""
        for path in self._logs():
            if path.name not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[path.name]:
                with open(path, "r+b") as file:
                    file.truncate(sizes[path.name])
        for name in (".*.*.pth", ".*.*.json"):  # temporary names, as utils/files.py makes them
            for path in self.folder.glob(name):
                path.unlink()

    def _describe(self) -> None:
        """The flags as TensorBoard's text and as its hyper-parameters."""
        from torch.utils.tensorboard.summary import hparams

        flags = dataclasses.asdict(self.options)
        rows = "\n".join(f"| {name} | {value} |" for name, value in flags.items())
        self.events.add_text("config", f"| flag | value |\n| --- | --- |\n{rows}")
        plain = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in flags.items()}
        for summary in hparams(plain, {}):
            self.events.file_writer.add_summary(summary)
