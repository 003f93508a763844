"""Going on with a run as if nothing had stopped it: what state.pth holds besides the run's own tensors, and reading it.

The script that trains says what there is to keep, and puts it back; here is what all runs have in common.
"""

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.checkpoint import load_checkpoint, reads_checkpoint, save_checkpoint
from utils.processes import of_all, rank_here, wait_for_all
from utils.runtime import Run

STATE = "state.pth"
# Flags that may be others when a run goes on: where and how it computes and what it says, not what it learns.
FREE = {
    "resume", "total_iter", "print_iter", "eval_iter", "save_iter", "device", "processes", "compile", "data_root",
    "out_dir", "exp_name", "vq_name", "resume_pth", "resume_trans", "clip_model", "evaluator", "glove",
}  # fmt: skip


def save_state(run: Run, step: int, content: dict) -> None:
    """Write `content`, the flags, every process's random generators and how far the logs are. All processes call it."""
    generators = of_all(random_state())
    if run.writes:
        common = {"step": step, "options": dataclasses.asdict(run.options), "random": generators, "logs": run.sizes()}
        save_checkpoint(run.folder / STATE, {**content, **common})
    wait_for_all()


@reads_checkpoint()
def begun_before(folder: str | Path, options: Any) -> dict | None:
    """The state to go on from with --resume, None for a run that begins.

    Raises ValueError for a file that is no state, where flags differ that the run's outcome hangs on, and where a run
    that begins would write over one that was stopped before its end.
    """
    path = Path(folder) / STATE
    if not path.is_file():
        return None
    state = load_checkpoint(path)
    kinds = {"step": int, "options": dict, "random": list, "logs": dict}
    if not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"{path} is no state of a training run")
    if not options.resume:
        step, end = state["step"], state["options"].get("total_iter", 0)
        if 0 < step < end:
            raise ValueError(
                f"{folder} holds a run that stopped after step {step} of {end}: --resume goes on with it, another "
                "--exp-name begins beside it; or remove it"
            )
        return None
    now = dataclasses.asdict(options)
    free = FREE - {"total_iter"} if now.get("cosine") else FREE  # a cosine ends where the run does
    for name in now.keys() - free:
        if name in state["options"] and _plain(state["options"][name]) != _plain(now[name]):
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"--resume goes on with the run in {folder} as it was begun: {flag} was {state['options'][name]}, "
                f"not {now[name]}"
            )
    return state


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def random_state() -> dict:
    """Of Python's, NumPy's and torch's global generators, as plain values."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore_random_state(states: list[dict]) -> None:
    """Of this process, from those of all; more processes than before keep the generators that they have."""
    if rank_here() >= len(states):
        return
    state = states[rank_here()]
    version, keys, rest = state["python"]
    random.setstate((version, tuple(keys), rest))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
