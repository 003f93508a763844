"""Training that is killed at random moments and goes on ends as training that was left alone: to the bit.

    OMP_NUM_THREADS=1 python -m tests.kill_resume                  # 50 kills of each stage, some minutes
    OMP_NUM_THREADS=1 python -m tests.kill_resume --kills 5 --stage vq

Both stages at a tiny size, on made clips, on the CPU in float32. Each attempt is a process that goes on with --resume
and gets SIGKILL after a random time, in its start, between steps, or while it evaluates or writes. After the last kill
the run goes on to its end and is held against one that ran undisturbed: the checkpoints, the state, run.log without its
rates, every TensorBoard scalar. A run that ends before its kills are used up is compared, and the next one begun.
tests/test_resume.py does so with a few kills.
"""

import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

import train_t2m_trans
import train_vq
from dataset.spec import BANDAI
from options.flags import flag, parse
from tests.tiny import make_checkpoints, make_dataset, run_script
from utils.checkpoint import load_checkpoint

SMALL = ["--device", "cpu", "--precision", "32", "--batch-size", "4", "--warm-up-iter", "1"]
OFTEN = ["--print-iter", "3", "--eval-iter", "40", "--save-iter", "7"]
VQ = [
    *SMALL, *OFTEN, "--window-size", "32", "--width", "16", "--depth", "1", "--nb-code", "16", "--code-dim", "4",
    "--loss-joint", "0.5", "--loss-step", "0.5",
]  # fmt: skip
TRANS = [
    *SMALL, *OFTEN, "--embed-dim-gpt", "16", "--clip-dim", "16", "--n-head-gpt", "2", "--num-layers", "1",
    "--num-local-layer", "1", "--ff-rate", "2", "--text-encoder", "learned", "--text-layers", "1", "--ema", "0.9",
]  # fmt: skip


@dataclass(frozen=True)
class KillOptions:
    kills: int = flag(50, "of each stage", least=0)
    stage: str = flag("both", "which", choices=("both", "vq", "trans"))
    steps: int = flag(400, "of a run", least=1)
    longest: float = flag(1.5, "seconds that an attempt lives at most", least=0)
    seed: int = flag(0, "of the moments")


def begin(work: Callable[[], None]) -> int:
    """Process id of a copy of this process that does `work`: what it imports is there already."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else print(ended.code, file=sys.stderr) or 1
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def ended_within(pid: int, seconds: float) -> int | None:
    """What a process says that ends by itself; after so many seconds it gets SIGKILL: None."""
    until = time.time() + seconds
    while time.time() < until:
        time.sleep(0.005)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def finish(script, flags: list) -> None:
    status = ended_within(begin(lambda: run_script(script, *flags)), float("inf"))
    if status:
        sys.exit(f"{script.__name__} ended with status {status}")


def tensors(value, name: str = "") -> dict[str, torch.Tensor]:
    """All that a checkpoint holds, flat; what is no tensor as its text."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: x for part, inner in pairs for key, x in tensors(inner, f"{name}/{part}").items()}
    return {name: torch.tensor(list(repr(value).encode()))}


def said(folder: Path) -> list[str]:
    """run.log without times, rates, and that the run went on."""
    lines = [line.split(" ", 2)[2] for line in (folder / "run.log").read_text().splitlines()]
    return [re.sub(r", train/steps_per_second \S+", "", line) for line in lines if not line.startswith("going on")]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    tags = [tag for tag in found.Tags()["scalars"] if not tag.endswith("per_second")]
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags}


def differences(a: Path, b: Path) -> list[str]:
    """What two runs' folders do not have in common."""
    found = []
    for file in ("net_last.pth", "net_best.pth", "state.pth"):
        one, two = (load_checkpoint(folder / file) for folder in (a, b))
        for content in (one, two):
            for name in ("options", "logs"):  # the runs' names, and the bytes that rates take
                content.pop(name, None)
        one, two = tensors(one), tensors(two)
        found += [f"{file} {name}" for name in one.keys() ^ two.keys()]
        found += [f"{file} {name}" for name in one.keys() & two.keys() if not torch.equal(one[name], two[name])]
    found += ["run.log"] * (said(a) != said(b)) + ["TensorBoard"] * (scalars(a) != scalars(b))
    left = {path.name for path in b.iterdir()} - {path.name for path in a.iterdir()}
    return found + sorted(name for name in left if not name.startswith("events."))


def kill_and_resume(script, flags: list, folder: Path, kills: int, longest: float, seed: int) -> list[str]:
    """What differs between a run that is left alone and those that are killed. `folder` is where runs are written."""
    finish(script, [*flags, "--exp-name", "alone"])
    moments, differ, used, ends, steps = random.Random(seed), [], 0, 0, []
    while True:
        pid = begin(lambda: run_script(script, *flags, "--exp-name", "killed", "--resume"))
        status = ended_within(pid, moments.uniform(0, longest) if used < kills else float("inf"))
        if status is None:
            used += 1
            state = folder / "killed/state.pth"
            steps.append(load_checkpoint(state)["step"] if state.exists() else 0)  # whole at any moment
            continue
        if status:
            return [*differ, f"an attempt ended with status {status}"]
        ends += 1
        differ += differences(folder / "alone", folder / "killed")
        if used >= kills:
            print(f"{script.__name__}: {used} kills, {ends} runs to the end, {len(differ)} differences")
            print(f"  the states that runs went on from: steps {' '.join(map(str, steps))}", flush=True)
            return differ
        shutil.rmtree(folder / "killed")


def main() -> None:
    options = parse(KillOptions, __doc__)
    torch.set_num_threads(1)
    import lightning_fabric  # noqa: F401, the attempts find it imported
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    train_vq.motion_picture = lambda *_: Figure(figsize=(1, 1))  # drawing takes longer than all the rest
    differ = []
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        data = make_dataset(out / "data", BANDAI)
        made = make_checkpoints(out / "tiny")
        common = ["--dataname", "bandai", "--data-root", data, "--out-dir", out, "--total-iter", options.steps]
        how = (options.kills, options.longest, options.seed)
        if options.stage != "trans":
            differ += kill_and_resume(train_vq, [*common, *VQ], out / "vq", *how)
        if options.stage != "vq":
            flags = [*common, *TRANS, "--resume-pth", made.vq]
            differ += kill_and_resume(train_t2m_trans, flags, out, *how)
    print("\n".join(differ) or "all the same, to the bit")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
