"""Writing a folder of HumanML3D's layout (spec/data.md 3): what every preparation script ends with.

new_joint_vecs/NAME.npy   [T, D] features, float32
texts/NAME.txt            caption#word/POS ...#start#end, seconds
Mean.npy Std.npy          [D]
train.txt val.txt test.txt train_val.txt all.txt
"""

import hashlib
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.spec import DatasetSpec
from utils.arrays import read_array
from utils.files import write_text, write_whole

FEATURES, TEXTS = "new_joint_vecs", "texts"
SHARE_OF_TEST, SHARE_OF_VAL = 0.10, 0.05


def features_path(folder: Path, name: str) -> Path:
    return folder / FEATURES / f"{name}.npy"


def text_path(folder: Path, name: str) -> Path:
    return folder / TEXTS / f"{name}.txt"


def text_line(caption: str, tokens: str, start: float = 0.0, end: float = 0.0) -> str:
    """One line of a texts file; times of 0 and 0 mean the whole clip."""
    return f"{caption}#{tokens}#{start:.1f}#{end:.1f}"


def write_statistics(folder: Path, names: list[str], spec: DatasetSpec) -> None:
    """Mean.npy and Std.npy over all frames of `names`; features of one group share its mean standard deviation."""
    total, squares, frames = np.zeros(spec.dim), np.zeros(spec.dim), 0
    for name in tqdm(names, desc="statistics", unit="clip", disable=None):
        features = read_array(features_path(folder, name)).astype(np.float64)
        total += features.sum(axis=0)
        squares += (features**2).sum(axis=0)
        frames += len(features)
    mean = total / frames
    std = np.sqrt(np.maximum(squares / frames - mean**2, 0.0))
    for group in spec.groups:
        std[group] = std[group].mean()
    write_whole(folder / "Mean.npy", lambda path: np.save(path, mean.astype(np.float32)))
    write_whole(folder / "Std.npy", lambda path: np.save(path, std.astype(np.float32)))


def write_splits(folder: Path, splits: dict[str, list[str]]) -> None:
    """The five split files from the names of train, val and test."""
    splits = dict(splits, train_val=splits["train"] + splits["val"])
    splits["all"] = splits["train_val"] + splits["test"]
    for split, names in splits.items():
        write_text(folder / f"{split}.txt", "".join(f"{name}\n" for name in sorted(names)))


def split_clips(by_kind: dict[str, list[str]]) -> dict[str, list[str]]:
    """Names of train, val and test, with mirror images: the same shares of every kind, drawn by hash of the name.

    A kind of fewer than ten clips is too rare to be judged on and all goes to training.
    """
    splits = {"train": [], "val": [], "test": []}
    for names in by_kind.values():
        names = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        rare = len(names) < 10
        test = 0 if rare else max(1, round(SHARE_OF_TEST * len(names)))
        val = 0 if rare else max(1, round(SHARE_OF_VAL * len(names)))
        for i, name in enumerate(names):
            split = "test" if i < test else "val" if i < test + val else "train"
            splits[split] += [name, f"M{name}"]
    return splits


def split_and_measure(folder: Path, by_kind: dict[str, list[str]], spec: DatasetSpec) -> str:
    """Write the split files and the statistics of clips that are there with their mirror images; how many there are, in
    words."""
    splits = split_clips(by_kind)
    write_statistics(folder, splits["train"], spec)
    write_splits(folder, splits)
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    return f"{sum(map(len, by_kind.values()))} clips, with mirror images {counts}"


def sub_clips(seconds: float, longest: float) -> list[tuple[float, float]]:
    """Overlapping stretches of at most `longest` seconds that cover a clip too long to be used whole."""
    count = math.ceil((seconds - longest) / (longest / 2)) + 1
    starts = np.linspace(0.0, seconds - longest, count)
    return [(math.floor(start * 10) / 10, math.floor(start * 10) / 10 + longest) for start in starts]
