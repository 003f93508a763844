"""The files of a motion, in every format there is."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataset.spec import DatasetSpec
from utils.bvh_export import motion_bvh
from utils.files import FORMATS, write_whole
from utils.film import find_ffmpeg, motion_frames, write_gif, write_mp4
from utils.visualize import Ranges, checked_joints, motion_html


@dataclass(frozen=True)
class Export:
    """A motion, and what its files say of it. T frames, J joints, D features, L ids."""

    joints: np.ndarray  # [T, J, 3] metres, y up
    spec: DatasetSpec
    title: str
    fps: float
    marks: dict[str, Ranges] = field(default_factory=dict)  # one name of ranges of frames, {"generated": [(0, 8)]}
    source: np.ndarray | None = None  # [S, J, 3] another motion, shown pale beside it
    text: str = ""
    features: np.ndarray | None = None  # [T, D], not normalised
    ids: np.ndarray | None = None  # [L] or [L, parts]
    source_features: np.ndarray | None = None  # [S, D] of the motion that was edited
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)  # plain values: all else that decided what was made


def _npz(path: Path, motion: Export) -> None:
    """Arrays and plain text, no pickles: what it takes to make the motion again."""
    given = {
        "joints": motion.joints.astype(np.float32), "features": motion.features, "ids": motion.ids,
        "source_features": motion.source_features, "fps": motion.fps, "text": motion.text, "dataset": motion.spec.name,
        "seed": motion.seed, "settings": json.dumps(motion.settings, sort_keys=True, ensure_ascii=False),
        "marks": json.dumps({name: [list(r) for r in ranges] for name, ranges in motion.marks.items()}),
    }  # fmt: skip
    np.savez_compressed(path, **{name: value for name, value in given.items() if value is not None})


def _film(write: Callable) -> Callable[[Path, Export], None]:
    def film(path: Path, motion: Export) -> None:
        frames = motion_frames(motion.joints, motion.spec, motion.title, motion.fps, motion.marks)
        write(path, frames, motion.fps)

    return film


def _html(motion: Export) -> str:
    return motion_html(motion.joints, motion.spec, motion.title, motion.fps, motion.marks, motion.source)


def _text(make: Callable[[Export], str]) -> Callable[[Path, Export], None]:
    return lambda path, motion: path.write_text(make(motion), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Export], None]] = {
    "html": _text(_html),
    "npy": lambda path, motion: np.save(path, motion.joints.astype(np.float32)),
    "npz": _npz,
    "bvh": _text(lambda motion: motion_bvh(motion.joints, motion.spec, motion.fps)),
    "mp4": _film(write_mp4),
    "gif": _film(write_gif),
}


def check_formats(formats: list[str]) -> None:
    """ValueError for a format that is not known, or that cannot be written here."""
    if not formats or not set(formats) <= set(FORMATS):
        wrong = next((format for format in formats if format not in FORMATS), "")
        raise ValueError(f"the formats are {', '.join(FORMATS)}, not {wrong!r}")
    if "mp4" in formats:
        find_ffmpeg()


def write_motion(path: Path, formats: list[str], motion: Export) -> list[Path]:
    """The files PATH.FORMAT that were written, in the order of FORMATS.

    Raises ValueError for joints that are none, OSError where a file cannot be written; the old one is whole then.
    """
    checked_joints(motion.joints, motion.spec)
    return [
        # not `with_suffix`, which takes what follows a name's dot for a suffix
        write_whole(path.with_name(f"{path.name}.{name}"), lambda temporary, write=write: write(temporary, motion))
        for name, write in WRITERS.items()
        if name in formats
    ]
