"""Inverse and forward kinematics of a dataset's skeleton, frame by frame and without joint limits.

Joints are [T, J, 3]; rotations are quaternions [T, J, 4], joint j's relative to the chain so far. They come from bone
directions alone (twist is never observed), so they are no SMPL pose parameters.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dataset.spec import DatasetSpec
from utils import quaternion

UP = np.array([0.0, 1.0, 0.0])


def bone_lengths(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[..., J-1] length of the bone that ends in each joint 1.. of joints [..., J, 3]."""
    parents = list(spec.parents[1:])
    return np.linalg.norm(joints[..., 1:, :] - joints[..., parents, :], axis=-1)


def facing(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[..., 3] where a body [..., J, 3] faces, not normalised: up x (left to right, hips and shoulders)."""
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[..., j, :] for j in spec.face_joints)
    return np.cross(UP, (right_hip - left_hip) + (right_shoulder - left_shoulder))


def to_ahead(forward: np.ndarray) -> np.ndarray:
    """[..., 4] turn about the vertical that takes horizontal directions [..., 3] to +z."""
    return quaternion.about_y(-np.arctan2(forward[..., 0], forward[..., 2]))


def heading(joints: np.ndarray, spec: DatasetSpec, smooth: bool) -> np.ndarray:
    """[T, 4] rotation of each frame's heading to +z; `smooth` filters the headings over time (sigma 20 frames).

    The hips count with the opposite sign of `facing`'s: a slip in the program that made HumanML3D which became the
    format, so every published file and model has it (spec/data.md 2, step 4). The shoulders outweigh it.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[:, j] for j in spec.face_joints)
    across = (left_hip - right_hip) + (right_shoulder - left_shoulder)
    forward = np.cross(UP, across / np.linalg.norm(across, axis=-1, keepdims=True))
    if smooth:
        forward = gaussian_filter1d(forward, 20, axis=0, mode="nearest")
    return to_ahead(forward)


def inverse_kinematics(joints: np.ndarray, spec: DatasetSpec, smooth: bool) -> np.ndarray:
    """Rotations [T, J, 4] that turn the rest pose's bones to those of joints [T, J, 3].

    The root's is its heading; along a chain each joint's takes its bone from rest to the bone's direction, expressed in
    the frame of the chain so far, every chain starting from the root's heading.
    """
    rest = np.array(spec.rest_directions, dtype=np.float64)
    rotations = np.zeros((*joints.shape[:2], 4))
    rotations[..., 0] = 1.0
    rotations[:, 0] = heading(joints, spec, smooth)
    rotations[0, 0] = (1.0, 0.0, 0.0, 0.0)  # the format fixes the first frame's, whatever smoothing made of it
    for chain in spec.chains:
        so_far = rotations[:, 0]
        for parent, joint in zip(chain, chain[1:]):
            bone = quaternion.between(rest[joint], joints[:, joint] - joints[:, parent])
            rotations[:, joint] = quaternion.multiply(quaternion.inverse(so_far), bone)
            so_far = bone
    return rotations


def forward_kinematics(rotations: np.ndarray, root: np.ndarray, lengths: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """Joints [T, J, 3] of rotations [T, J, 4], root positions [T, 3] and bone lengths [J-1]."""
    offsets = spec.rest_offsets(lengths)
    joints = np.zeros((*rotations.shape[:2], 3))
    joints[:, 0] = root
    for chain in spec.chains:
        so_far = rotations[:, 0]
        for parent, joint in zip(chain, chain[1:]):
            so_far = quaternion.multiply(so_far, rotations[:, joint])
            joints[:, joint] = joints[:, parent] + quaternion.rotate(so_far, offsets[joint])
    return joints


def retarget(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """The same motion [T, J, 3] on the dataset's uniform skeleton (spec/data.md 2, step 1).

    The root path is scaled by the ratio of leg lengths, so that steps fit the legs. A spec without bone lengths of its
    own keeps the source's. Raises ValueError where the legs have no length.
    """
    if spec.bone_lengths is None:
        return joints
    target = np.asarray(spec.bone_lengths)
    legs = [bone - 1 for bone in spec.leg_bones]
    source = bone_lengths(joints[0], spec)[legs].sum()
    if source == 0:
        raise ValueError("the legs have no length: joints lie in one point")
    scale = target[legs].sum() / source
    return forward_kinematics(inverse_kinematics(joints, spec, smooth=False), joints[:, 0] * scale, target, spec)
