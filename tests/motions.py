"""Made motions: a body from a table of bones and scipy's rotations, sharing no code with what is tested."""

import numpy as np
from scipy.spatial.transform import Rotation

from dataset.spec import DatasetSpec

# Metres from the parent, of a body that faces +z; "side" joints are given for the left (+x). Swing: the amplitude in
# radians about x, and by which part of a cycle it runs ahead.
BONES = {
    "spine1": ((0.0, 0.11, -0.02), 0.03, 0.0),
    "spine2": ((0.0, 0.13, 0.01), 0.03, 0.1),
    "spine3": ((0.0, 0.06, 0.01), 0.02, 0.2),
    "neck": ((0.0, 0.2, -0.03), 0.03, 0.3),
    "head": ((0.0, 0.1, 0.04), 0.05, 0.5),
    "side_collar": ((0.08, 0.11, -0.01), 0.0, 0.0),
    "side_shoulder": ((0.12, 0.03, -0.01), 0.4, 0.5),
    "side_elbow": ((0.05, -0.26, -0.02), 0.3, 0.6),
    "side_wrist": ((0.02, -0.25, 0.06), 0.1, 0.0),
    "side_hip": ((0.07, -0.09, 0.0), 0.5, 0.0),
    "side_knee": ((0.02, -0.38, 0.01), 0.4, 0.25),
    "side_ankle": ((-0.01, -0.4, -0.04), 0.2, 0.4),
    "side_heel": ((0.0, -0.03, 0.02), 0.0, 0.0),
    "side_foot": ((0.02, -0.05, 0.12), 0.1, 0.5),
}
SHOULDER_OF_NECK = (0.19, -0.05, -0.02)  # where the skeleton has no collar bones


def _about(axis: tuple[int, int, int], angles: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(np.outer(angles, axis))


def _bones(spec: DatasetSpec):
    """For each joint 1..: offset from the parent in metres, amplitude and phase of its swing."""
    for joint in range(1, spec.joints):
        side, _, part = spec.joint_names[joint].rpartition("_")
        offset, swing, phase = BONES[f"side_{part}" if side else part]
        if part == "shoulder" and spec.joint_names[spec.parents[joint]] == "neck":
            offset = SHOULDER_OF_NECK
        if side == "right":
            offset, phase = (-offset[0], *offset[1:]), phase + 0.5
        yield joint, np.array(offset), swing, phase


def walking(
    spec: DatasetSpec, frames: int = 60, speed: float = 1.2, turn: float = 0.6, swing: float = 1.0
) -> np.ndarray:
    """Joints [T, J, 3] in the spec's unit: a body that walks at `speed` m/s and turns by `turn` radians in all.

    Every bone keeps its length, and left and right are alike. Speed, turn and swing of nought: it stands.
    """
    time = np.arange(frames) / spec.fps
    yaw = turn * np.linspace(0, 1, frames)
    step = speed / spec.fps * np.stack((np.sin(yaw), np.zeros(frames), np.cos(yaw)), axis=-1)
    joints = np.zeros((frames, spec.joints, 3))
    joints[:, 0] = np.cumsum(step, axis=0) + (0.3, 0.95, -0.2)
    joints[:, 0, 1] += 0.02 * swing * np.cos(4 * np.pi * time)
    turns = {0: _about((0, 1, 0), yaw)}
    bones = {joint: rest for joint, *rest in _bones(spec)}
    for chain in spec.chains:
        for parent, joint in zip(chain, chain[1:]):
            offset, amplitude, phase = bones[joint]
            angle = swing * amplitude * np.sin(2 * np.pi * (time + phase))
            joints[:, joint] = joints[:, parent] + turns[parent].apply(offset)
            turns[joint] = turns[parent] * _about((1, 0, 0), angle)
    return joints / spec.metres_per_unit


def standing(spec: DatasetSpec, frames: int = 60) -> np.ndarray:
    """Joints [T, J, 3] of a body that does not move at all."""
    return walking(spec, frames, speed=0.0, turn=0.0, swing=0.0)


def turned(joints: np.ndarray, angle: float) -> np.ndarray:
    """The same motion [..., 3] turned about the vertical."""
    return joints @ Rotation.from_euler("y", angle).as_matrix().T
