"""The only reader of splits, captions and motions: folders of HumanML3D's layout (spec/data.md 3)."""

import io
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from dataset.pack import fingerprint, open_pack, write_pack
from dataset.prepare.layout import FEATURES, TEXTS, features_path, text_path
from dataset.spec import DatasetSpec
from utils.arrays import read_array

HOW_TO_PREPARE = {
    "bandai": "python -m dataset.prepare.bandai --source <archive, folder or clone>",
    "t2m": "make it as github.com/EricGuo5513/HumanML3D says, or with python -m dataset.prepare.humanml3d",
    "kit": "github.com/EricGuo5513/HumanML3D says where it is",
}
PACK_FORMAT = 2  # to be raised with every change of what is packed


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
    try:
        names = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no list of names: {error}") from error
    for name in names:  # files of ids are written under them
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{path} names {name!r:.80}, which lies outside the folder")
    return names


def read_split(spec: DatasetSpec, folder: Path, split: str) -> list[Clip]:
    """Every usable clip of a split, in the order of the file.

    Captions with times describe a stretch, which becomes a clip of its own (named NAME@start-end, in frames). Clips
    outside the spec's lengths are left out; missing and broken files are named once on stderr and counted.

    The first use packs the split into one array in the folder (dataset/pack.py); the clips' motions are views into it,
    read from the disk as they are used. A folder that cannot be written to is read into memory, every time.
    """
    names = split_names(folder, split)
    # as text: a Path for each of fifty thousand files takes longer than asking for its size
    files = (f"{folder}/{kind}" for name in names for kind in (f"{FEATURES}/{name}.npy", f"{TEXTS}/{name}.txt"))
    key = fingerprint((PACK_FORMAT, spec.dim, spec.fps, spec.min_frames, spec.max_frames, names), files)
    motion, index = open_pack(folder, split, key, spec.dim) or _pack(spec, folder, split, names, key)
    for problem in index["problems"]:
        print(f"left out {problem}", file=sys.stderr)
    if index["problems"]:
        print(f"{len(index['problems'])} clips of {split} left out", file=sys.stderr)
    if not index["clips"]:
        raise ValueError(f"{folder} has no usable clip in its split {split!r}")
    return [Clip(name, motion[first:end], _captions(pairs)) for name, first, end, pairs in index["clips"]]


def _captions(pairs: list[list[str]]) -> tuple[Caption, ...]:
    """From [text, tokens] pairs of the index; a token's text is kept once, however many captions have it."""
    return tuple(Caption(text, tuple(map(sys.intern, tokens.split()))) for text, tokens in pairs)


def _pack(spec: DatasetSpec, folder: Path, split: str, names: list[str], key: str) -> tuple[np.ndarray, dict]:
    """Write the split's pack and open it; where that fails, the same in memory, with a note on stderr."""

    def fill(file: BinaryIO) -> dict:
        return _write_motions(
            spec, folder, tqdm(names, f"packing {split}", unit="clip", leave=False, disable=None), file
        )

    reason = "another process removed it"
    try:
        write_pack(folder, split, key, fill)
        packed = open_pack(folder, split, key, spec.dim)
        if packed is not None:
            return packed
    except OSError as error:
        reason = str(error)
    print(
        f"{split} is read into memory, which every start will do again: no pack in {folder}: {reason}", file=sys.stderr
    )
    memory = io.BytesIO()
    index = fill(memory)
    return np.ndarray((index["frames"], spec.dim), np.float32, memory.getbuffer()), index


def _write_motions(spec: DatasetSpec, folder: Path, names: Iterable[str], file: BinaryIO) -> dict:
    """Write the motions of usable clips to `file`, one after another, and give the index of the pack:

    frames: rows written; clips: [name, first row, last row + 1, [[text, tokens], ...]]; problems: one text each.
    """
    clips, problems, frames = [], [], 0
    for name in names:
        try:
            motion = read_motion(features_path(folder, name), spec)
            stretches = read_captions(text_path(folder, name), spec.fps, len(motion))
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}".replace(f"{folder}/", ""))  # the pack may move with its folder
            continue
        usable = {
            (start, end): captions
            for (start, end), captions in stretches.items()
            if spec.min_frames <= end - start <= spec.max_frames
        }
        if not usable:
            continue
        file.write(np.ascontiguousarray(motion))
        for (start, end), captions in usable.items():
            whole = (start, end) == (0, len(motion))
            pairs = [[caption.text, " ".join(caption.tokens)] for caption in captions]
            clips.append([name if whole else f"{name}@{start}-{end}", frames + start, frames + end, pairs])
        frames += len(motion)
    return {"frames": frames, "clips": clips, "problems": problems}


def read_motion(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Features [T, D] of a file. Raises ValueError for another shape, and for nan and infinite numbers."""
    motion = load_array(path)
    if motion.ndim != 2 or motion.shape[1] != spec.dim:
        raise ValueError(f"shape {list(motion.shape)}, not [T, {spec.dim}]")
    if not np.isfinite(motion).all():
        raise ValueError("nan or infinite numbers")
    return motion


def load_array(path: Path) -> np.ndarray:
    """The float32 array in an npy file, without executing anything. Raises ValueError, naming the file, for others."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite then, as the file may hold it anyway
        return read_array(path).astype(np.float32, copy=False)


def read_captions(path: Path, fps: float, frames: int) -> dict[tuple[int, int], list[Caption]]:
    """Captions by the stretch (first frame, last frame + 1) they describe. Raises OSError, and ValueError for lines
    of another form."""
    stretches = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text: {error}") from error
    for line in lines:
        if not line.strip():
            continue
        fields = line.strip().split("#")
        if len(fields) != 4:
            raise ValueError(f"{path.name} has a line that is not caption#tokens#start#end: {line[:60]!r}")
        start, end = (0.0 if math.isnan(value) else value for value in map(float, fields[2:]))
        if math.isinf(start * fps) or math.isinf(end * fps):
            raise ValueError(f"{path.name} has an infinite time: {line[:60]!r}")
        whole = start == 0.0 and end == 0.0
        stretch = (0, frames) if whole else (max(int(start * fps), 0), min(int(end * fps), frames))
        stretches.setdefault(stretch, []).append(Caption(fields[0], tuple(fields[1].split())))
    if not stretches:
        raise ValueError(f"{path.name} has no caption")
    return stretches
