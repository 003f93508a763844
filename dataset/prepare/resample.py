"""The same motion at another frame rate: shared by the preparation scripts that read BVH."""

import numpy as np
from scipy.interpolate import CubicSpline


def resample(joints: np.ndarray, source_fps: float, fps: float) -> np.ndarray:
    """The same motion [F, J, 3] at another rate, by cubic splines through the frames.

    Raises ValueError for fewer than four frames, which fix no cubic.
    """
    times = np.arange(len(joints)) / source_fps
    if len(joints) < 4:
        raise ValueError(f"only {len(joints)} frames")
    return CubicSpline(times, joints)(np.arange(0.0, times[-1] + 1e-9, 1.0 / fps))
