"""More clips made of clips, for stage 2: the same motion in other token grids and at other speeds."""

from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicSpline
from tqdm import tqdm

from dataset.humanml import Clip
from dataset.spec import DatasetSpec
from utils.motion import features_to_joints, joints_to_features


def shifted_clips(clips: list[Clip], shifts: int) -> list[Clip]:
    """Every clip `shifts` times: as it is, then without its first frame (named NAME+1), without its first two ...

    A tokenizer that makes one id of four frames sees the same motion in four ways.
    """
    return [
        replace(clip, name=f"{clip.name}+{shift}", motion=clip.motion[shift:]) if shift else clip
        for shift in range(shifts)
        for clip in clips
    ]


def retimed_clips(clips: list[Clip], tempos: tuple[float, ...], spec: DatasetSpec) -> list[Clip]:
    """Every clip as it is, then at these times its speed (named NAME@TEMPO): its joints at times between frames.

    Raises ValueError for a tempo that is not above 0, or that leaves a clip fewer than 2 frames.
    """
    if not all(tempo > 0 for tempo in tempos):
        raise ValueError(f"a tempo is a number above 0, as 0.9 for slower by a tenth, not {min(tempos)}")
    wanted = [(clip, tempo) for tempo in tempos for clip in clips]
    made = [
        replace(clip, name=f"{clip.name}@{tempo:g}", motion=_retimed(clip.motion, tempo, spec))
        for clip, tempo in tqdm(wanted, desc="other tempos", unit="clip", leave=False, disable=None)
    ]
    return [*clips, *made]


def _retimed(motion: np.ndarray, tempo: float, spec: DatasetSpec) -> np.ndarray:
    """Features [T', D] of features [T, D] played `tempo` times as fast."""
    joints = np.asarray(features_to_joints(motion, spec))  # [T, J, 3]
    times = np.arange(0, len(joints) - 1 + 1e-6, tempo)
    return joints_to_features(CubicSpline(np.arange(len(joints)), joints)(times.clip(max=len(joints) - 1)), spec)
