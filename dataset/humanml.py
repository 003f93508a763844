"""The only reader of splits, captions and motions: folders of HumanML3D's layout (spec/data.md 3)."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.prepare.layout import features_path, text_path
from dataset.spec import DatasetSpec

HOW_TO_PREPARE = {
    "bandai": "python -m dataset.prepare.bandai --source <archive, folder or clone>",
    "t2m": "follow HumanML3D's own instructions",
    "kit": "follow KIT-ML's own instructions",
}


@dataclass(frozen=True)
class Caption:
    text: str
    tokens: tuple[str, ...]  # word/POS


@dataclass(frozen=True)
class Clip:
    """A motion and the sentences that describe all of it."""

    name: str
    motion: np.ndarray  # [T, D] features as on disk, not normalised
    captions: tuple[Caption, ...]


def dataset_folder(spec: DatasetSpec, root: str | None = None) -> Path:
    """Where the dataset lies; ValueError says how to get it where it does not."""
    folder = Path(root or spec.folder)
    if not folder.is_dir():
        raise ValueError(f"there is no dataset folder {folder}: {HOW_TO_PREPARE[spec.name]}, or give --data-root")
    return folder


def split_names(folder: Path, split: str) -> list[str]:
    """Names in a split file; ValueError names the splits there are."""
    path = folder / f"{split}.txt"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in folder.glob("*.txt")))
        raise ValueError(f"{folder} has no split {split!r}: it has {there or 'none'}")
    return path.read_text().split()


def read_split(spec: DatasetSpec, folder: Path, split: str) -> list[Clip]:
    """Every usable clip of a split, in the order of the file.

    Captions with times describe a stretch, which becomes a clip of its own (named NAME@start-end, in frames). Clips
    outside the spec's lengths are left out; missing and broken files are named once on stderr and counted.
    """
    clips, problems = [], []
    for name in tqdm(split_names(folder, split), desc=f"reading {split}", unit="clip", leave=False, disable=None):
        try:
            motion = _read_motion(features_path(folder, name), spec)
            stretches = _read_captions(text_path(folder, name), spec.fps, len(motion))
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}")
            continue
        for (start, end), captions in stretches.items():
            whole = (start, end) == (0, len(motion))
            part = motion[start:end]
            if spec.min_frames <= len(part) <= spec.max_frames:
                clips.append(Clip(name if whole else f"{name}@{start}-{end}", part, tuple(captions)))
    for problem in problems:
        print(f"left out {problem}", file=sys.stderr)
    if problems:
        print(f"{len(problems)} clips of {split} left out", file=sys.stderr)
    if not clips:
        raise ValueError(f"{folder} has no usable clip in its split {split!r}")
    return clips


def _read_motion(path: Path, spec: DatasetSpec) -> np.ndarray:
    motion = load_array(path)
    if motion.ndim != 2 or motion.shape[1] != spec.dim:
        raise ValueError(f"shape {list(motion.shape)}, not [T, {spec.dim}]")
    if not np.isfinite(motion).all():
        raise ValueError("nan or infinite numbers")
    return motion


def load_array(path: Path) -> np.ndarray:
    """The float32 array in an npy file, without executing anything. Raises ValueError, naming the file, for others."""
    if not path.is_file():
        raise ValueError(f"there is no {path}")
    try:
        array = np.load(path, allow_pickle=False)
        return array.astype(np.float32, copy=False)
    except Exception as error:  # damaged bytes make numpy fail in every way there is
        raise ValueError(f"{path} is no readable npy file: {error}") from error


def _read_captions(path: Path, fps: float, frames: int) -> dict[tuple[int, int], list[Caption]]:
    """Captions by the stretch (first frame, last frame + 1) they describe."""
    stretches = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        fields = line.strip().split("#")
        if len(fields) != 4:
            raise ValueError(f"{path.name} has a line that is not caption#tokens#start#end: {line[:60]!r}")
        start, end = (0.0 if math.isnan(value) else value for value in map(float, fields[2:]))
        if math.isinf(start) or math.isinf(end):
            raise ValueError(f"{path.name} has an infinite time: {line[:60]!r}")
        whole = start == 0.0 and end == 0.0
        stretch = (0, frames) if whole else (int(start * fps), min(int(end * fps), frames))
        stretches.setdefault(stretch, []).append(Caption(fields[0], tuple(fields[1].split())))
    if not stretches:
        raise ValueError(f"{path.name} has no caption")
    return stretches
