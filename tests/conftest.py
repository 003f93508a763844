"""What several test files share. Helpers that are plain functions are in motions.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)  # networks this small are several times faster on one thread
settings.register_profile("same every time", derandomize=True, database=None, deadline=None)
settings.load_profile("same every time")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The specification's folder beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: the golden numbers and the real clips are not part of this repository")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> dict[str, torch.Tensor]:
    """Inputs and outputs of the published method on small random weights (shared/golden/README.md)."""
    path = shared / "golden/A/golden.pt"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="session")
def published_clip(shared: Path) -> dict[str, np.ndarray]:
    """One published HumanML3D clip: features_official, joints, features_from_joints, offsets."""
    path = shared / "golden/rep_012314.npz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    with np.load(path) as arrays:
        return dict(arrays)
