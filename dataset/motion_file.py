"""Anybody's motion from a file: features or joints in an .npy, or a BVH.

T frames, J joints, D features, of the spec's skeleton and rate.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.humanml import load_array
from dataset.prepare.bvh import convert, read_map
from dataset.spec import DatasetSpec
from utils.motion import joints_to_features
from utils.seams import hide_frames

SUFFIXES = (".npy", ".bvh")
FARTHEST = 1e5  # metres, and more than any feature is


@dataclass(frozen=True)
class MotionFile:
    """What a file holds: features, or joints from which features are made once it is known what has to be hidden."""

    path: Path
    features: np.ndarray | None  # [T, D], not normalised
    joints: np.ndarray | None  # [T, J, 3] in the spec's unit
    spec: DatasetSpec

    @property
    def frames(self) -> int:
        return len(self.joints if self.features is None else self.features)

    def features_without(self, hidden: np.ndarray) -> np.ndarray:
        """Features [T, D] of which those of frames that are not hidden [T] (bool) do not depend on those that are."""
        if self.features is not None:
            return self.features
        try:
            return joints_to_features(hide_frames(self.joints, hidden), self.spec)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def motion_paths(path: Path) -> list[Path]:
    """The file, or those of a folder that may be motions, by name. Raises ValueError where there is none."""
    if path.is_dir():
        # a dot before the name: what a run that was killed was writing (utils/files.py), or another system's own
        files = (file for file in path.iterdir() if not file.name.startswith("."))
        found = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"there is no .npy or .bvh file in {path}")
        return found
    if not path.is_file():
        raise ValueError(f"there is no motion {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no motion: .npy and .bvh files are")
    return [path]


def read_motion(
    path: Path, spec: DatasetSpec, joint_map: Path | None = None, scale: float | None = None, up: str = "y"
) -> MotionFile:
    """A motion from a file: .npy of features [T, D] or of joints [T, J, 3] in metres, y up; or .bvh.

    `joint_map`, `scale` and `up` are for BVH files that need them (dataset.prepare.bvh). Raises ValueError, naming the
    file, for one that cannot be used.
    """
    if path.suffix.lower() == ".bvh":
        # those joints and that rate are what dataset.prepare.bvh makes of every file
        if spec.joints != 22 or spec.fps != 20:
            raise ValueError(
                f"{path}: a BVH file becomes HumanML3D's skeleton, and these weights are for {spec.name}'s"
            )
        _, joints, _ = convert(path, read_map(joint_map) if joint_map else None, scale, up)
        check_reach(joints, path)
        return MotionFile(path, None, joints / spec.metres_per_unit, spec)
    array = load_array(path)
    features = array.ndim == 2 and array.shape[1] == spec.dim
    if not features and (array.ndim != 3 or array.shape[1:] != (spec.joints, 3)):
        raise ValueError(
            f"{path} has shape {list(array.shape)}: {spec.name} wants features [T, {spec.dim}] or joints "
            f"[T, {spec.joints}, 3] in metres"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{path} holds nan or infinite numbers")
    check_reach(array, path)
    if features:
        return MotionFile(path, array, None, spec)
    return MotionFile(path, None, array.astype(np.float64) / spec.metres_per_unit, spec)


def check_reach(values: np.ndarray, path: Path) -> None:
    """ValueError for numbers with which no person moves: sums and squares of them would soon be infinite."""
    if values.size and np.abs(values).max() > FARTHEST:
        raise ValueError(f"{path} holds numbers of {np.abs(values).max():.2g}: nobody moves that far")
