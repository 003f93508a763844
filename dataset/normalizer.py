"""The statistics motion is normalised with: the only owner of which space is which (spec/data.md 3)."""

from pathlib import Path

import numpy as np

from dataset.humanml import load_array
from dataset.spec import DatasetSpec

ROOT_WEIGHT = 5.0  # root features and contacts count this much more than their spread says: drift adds up


def read_statistics(folder: Path, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Mean.npy and Std.npy [D] of a dataset's folder. Raises ValueError where they are not there or do not fit."""
    mean, std = (load_array(folder / f"{name}.npy") for name in ("Mean", "Std"))
    if mean.shape != (spec.dim,) or std.shape != (spec.dim,):
        raise ValueError(f"the statistics in {folder} are for {mean.shape} features, {spec.name} has {spec.dim}")
    return mean, std


def training_statistics(folder: Path, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Statistics for training a tokenizer: the folder's, the root and the contacts weighted up.

    The published space does the same (by 5 x 5): an error of the root's turn or path adds up over the frames, one of
    a joint's place does not.
    """
    mean, std = read_statistics(folder, spec)
    std = std.copy()
    std[spec.root_slice] /= ROOT_WEIGHT
    std[spec.contact_slice] /= ROOT_WEIGHT
    return mean, std
