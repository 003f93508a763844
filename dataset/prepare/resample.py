"""The same motion at another frame rate: shared by the preparation scripts that read BVH."""

import numpy as np
from scipy.interpolate import CubicSpline

MAX_SECONDS = 3600  # of a file: one frame a minute would make twelve hundred of each


def resample(joints: np.ndarray, source_fps: float, fps: float) -> np.ndarray:
    """The same motion [F, J, 3] at another rate, by cubic splines through the frames.

    Raises ValueError for fewer than four frames, which fix no cubic, and for more than an hour of them.
    """
    if len(joints) < 4:
        raise ValueError(f"only {len(joints)} frames")
    if len(joints) / source_fps > MAX_SECONDS:
        raise ValueError(f"it lasts {len(joints) / source_fps:.0f} s: at most {MAX_SECONDS} s can be used")
    times = np.arange(len(joints)) / source_fps
    return CubicSpline(times, joints)(np.arange(0.0, times[-1] + 1e-9, 1.0 / fps))
