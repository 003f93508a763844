"""The statistics motion is normalised with: the only owner of which space is which (spec/data.md 3).

The released models and the published evaluator live in the published space: HumanML3D's statistics, with the root and
the contacts weighted up. Training for those datasets goes there too. A checkpoint carries its statistics inside.
"""

from pathlib import Path

import numpy as np

from dataset.humanml import Clip, load_array
from dataset.spec import DatasetSpec

CHECKPOINTS = Path("checkpoints")


def read_statistics(folder: Path, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Mean.npy and Std.npy [D] of a dataset's folder. Raises ValueError where they are not there or do not fit."""
    return _read(folder / "Mean.npy", folder / "Std.npy", spec)


def published_paths(spec: DatasetSpec, root: Path = CHECKPOINTS) -> tuple[Path, Path]:
    """Files of the published mean and deviation. Raises ValueError for a dataset that has none."""
    if not spec.published_statistics:
        raise ValueError(f"there are no published statistics of {spec.name}")
    return root / spec.published_statistics / "mean.npy", root / spec.published_statistics / "std.npy"


def published_statistics(spec: DatasetSpec, root: Path = CHECKPOINTS) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] of the space of the released models and the published evaluator.

    Raises ValueError where they are not there or do not fit, and for a dataset that has none.
    """
    mean, std = published_paths(spec, root)
    if not (mean.is_file() and std.is_file()):
        how = "bash dataset/prepare/download_extractor.sh brings them"
        raise ValueError(f"there are no published statistics in {mean.parent}: {how}")
    return _read(mean, std, spec)


def training_statistics(folder: Path, spec: DatasetSpec, root: Path = CHECKPOINTS) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] for training a tokenizer: the published ones where they are on the disk, else the
    folder's, with the root and the contacts weighted up. Raises ValueError as those do."""
    if spec.published_statistics and all(path.is_file() for path in published_paths(spec, root)):
        return published_statistics(spec, root)
    mean, std = read_statistics(folder, spec)
    std = np.where(std > 0, std, np.float32(1.0))  # what never changes is 0 then, whatever it is divided by
    std[spec.root_slice] /= spec.root_weight
    std[spec.contact_slice] /= spec.root_weight
    return mean, std


def upper_statistics(clips: list[Clip], spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [heights] of the heights of upper joints above the root's, over all frames of clips.

    The upper-body tokenizer takes these features so (spec/model.md 4). As with the other features, those of one group
    share the mean of their deviations.
    """
    columns = list(spec.upper_heights)
    heights = np.concatenate([clip.motion[:, columns] - clip.motion[:, 3:4] for clip in clips]).astype(np.float64)
    mean = heights.mean(axis=0)
    std = np.full_like(mean, heights.std(axis=0).mean() or 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def _read(mean_path: Path, std_path: Path, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    mean, std = load_array(mean_path), load_array(std_path)
    if mean.shape != (spec.dim,) or std.shape != (spec.dim,):
        raise ValueError(
            f"the statistics in {mean_path.parent} are for {mean.shape} features, {spec.name} has {spec.dim}"
        )
    return mean, std
