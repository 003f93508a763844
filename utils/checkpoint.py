"""Reading and writing checkpoint files. Nothing in a file is ever executed: only tensors and plain values load."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from torch import nn

from utils.files import check_zip, write_whole

Config = TypeVar("Config")
Load = TypeVar("Load", bound=Callable)
STATISTICS = ("mean", "std", "mean_upper", "std_upper")  # a tokenizer's


def load_checkpoint(path: str | Path) -> dict:
    """The dict in a checkpoint file, on the CPU. Raises ValueError, naming the file, for anything else."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"there is no checkpoint {path}: a run of a training script writes them, and "
            "dataset/prepare/download_model.sh and download_model_upperbody.sh fetch the released ones"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what torch has to say of strange files is in the error, or does not matter
            with open(path, "rb") as file:
                if file.read(4) == b"PK\x03\x04":  # torch before 1.6 wrote no zip, and no sums
                    check_zip(file)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch fail in every way there is
        # of what is no pickle torch says at length how to load it nevertheless, which is no help
        reason = "" if isinstance(error, UnpicklingError) else ": " + str(error).strip().split("\n")[0]
        raise ValueError(f"{path} is no readable checkpoint (truncated, or of another program){reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no checkpoint: it holds a {type(content).__name__}")
    return content


def save_checkpoint(path: str | Path, content: dict) -> None:
    """Write a checkpoint whole or not at all."""
    write_whole(path, lambda temporary: torch.save(content, temporary))


def reads_checkpoint(position: int = 0) -> Callable[[Load], Load]:
    """For functions that make a network of what a file says, whose path is their argument at `position`.

    Numbers and names that no version of ours would have written make a network fail in every way there is: all of them
    are a ValueError that names the file.
    """

    def decorate(load: Load) -> Load:
        @functools.wraps(load)
        def loaded(*given, **named):
            path = given[position] if position < len(given) else named["path"]
            try:
                return load(*given, **named)
            except torch.OutOfMemoryError:
                raise
            except ValueError as error:
                if str(path) in str(error):
                    raise
                raise ValueError(f"{path} cannot be used: {error}") from error
            except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
                reason = str(error).strip().split("\n")[0]
                raise ValueError(f"{path} cannot be used, it was written by another version: {reason}") from error

        return loaded

    return decorate


def build_config(cls: type[Config], values: dict | None, path: str | Path) -> Config:
    """The dataclass of a checkpoint's config; ValueError, naming the file, where the fields are not those of `cls`."""
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} was written by another version: its {cls.__name__} does not fit ({error})") from error


def load_state(module: nn.Module, state: dict[str, torch.Tensor], path: str | Path, optional: tuple = ()) -> None:
    """Load weights by name; ValueError names what is missing, unexpected or wrongly shaped.

    `optional`: names that the file may lack (state that only training needs).
    """
    own = module.state_dict()
    state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    missing = [name for name in own if name not in state and name not in optional]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {list(state[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = [
        f"{kind} {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape:", shapes))
        if names
    ]
    if problems:
        raise ValueError(f"{path} does not fit: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)


def halved(content: object) -> object:
    """The same nested dicts with floats of half precision; statistics stay as they are, for their range is wide."""
    if isinstance(content, dict):
        return {
            name: value if name.rpartition(".")[2] in STATISTICS else halved(value) for name, value in content.items()
        }
    if isinstance(content, torch.Tensor) and content.is_floating_point():
        return content.half()
    return content
