"""Joints to HumanML3D's feature vector and back (spec/data.md 2).

T frames, J joints, D = spec.dim features. Lengths are in the dataset's unit, y is up.
"""

import numpy as np
import torch

from dataset.spec import DatasetSpec
from utils import quaternion
from utils.skeleton import facing, inverse_kinematics, retarget, to_ahead


def canonical(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[T, J, 3] with its lowest point on the floor, its first root above the origin and its first facing along +z."""
    joints = joints - [joints[0, 0, 0], joints[..., 1].min(), joints[0, 0, 2]]
    return quaternion.rotate(to_ahead(facing(joints[0], spec)), joints)


def foot_contacts(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[T-1, 4] whether left ankle, left foot, right ankle, right foot hardly move from each frame to the next."""
    feet = joints[:, [*spec.left_foot, *spec.right_foot]]
    return np.sum(np.diff(feet, axis=0) ** 2, axis=-1) < spec.foot_threshold


def joints_to_features(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """Features [T-1, D] (float32) of joint positions [T, J, 3], brought to the dataset's skeleton and origin first.

    Raises ValueError for another skeleton, fewer than two frames, or numbers that are not finite.
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (spec.joints, 3) or len(joints) < 2:
        raise ValueError(f"{spec.name} wants joints [T >= 2, {spec.joints}, 3], not {list(joints.shape)}")
    if not np.isfinite(joints).all():
        raise ValueError("joints hold nan or infinite numbers")
    joints = canonical(retarget(joints, spec), spec)
    rotations = inverse_kinematics(joints, spec, smooth=True)
    to_heading = rotations[:, 0]

    root = joints[:, 0]
    turn = quaternion.multiply(to_heading[1:], quaternion.inverse(to_heading[:-1]))
    # the half angle; the sign, because past a half turn the quaternions of two like headings are opposite
    yaw_velocity = np.arcsin(turn[:, 2:3] * np.where(turn[:, :1] < 0, -1.0, 1.0))
    root_velocity = quaternion.rotate(to_heading[1:], np.diff(root, axis=0))[:, [0, 2]]
    local = joints - root[:, None] * [1.0, 0.0, 1.0]
    positions = quaternion.rotate(to_heading[:, None], local)[:-1, 1:]
    velocities = quaternion.rotate(to_heading[:-1, None], np.diff(joints, axis=0))
    frames = len(joints) - 1
    parts = (
        yaw_velocity,
        root_velocity,
        root[:-1, 1:2],
        positions.reshape(frames, -1),
        quaternion.to_6d(rotations[:-1, 1:]).reshape(frames, -1),
        velocities.reshape(frames, -1),
        foot_contacts(joints, spec),
    )
    return np.concatenate(parts, axis=-1).astype(np.float32)


def features_to_joints(features: np.ndarray | torch.Tensor, spec: DatasetSpec) -> np.ndarray | torch.Tensor:
    """Joint positions [..., T, J, 3] of features [..., T, D]; arrays give arrays, tensors tensors.

    The yaw and the root's path are sums of per-frame velocities, the value of a row acting on the next. Differentiable.
    """
    if features.shape[-1] != spec.dim:
        raise ValueError(f"{spec.name} has {spec.dim} features, not {features.shape[-1]}")
    if isinstance(features, np.ndarray):
        return features_to_joints(torch.from_numpy(features), spec).numpy()
    yaw, path = root_path(features)
    positions = features[..., spec.position_slice].unflatten(-1, (spec.joints - 1, 3))
    across = turn(positions[..., [0, 2]], yaw[..., None], shift=0) + path[..., None, :]
    others = torch.stack((across[..., 0], positions[..., 1], across[..., 1]), dim=-1)
    root = torch.stack((path[..., 0], features[..., 3], path[..., 1]), dim=-1)
    return torch.cat((root[..., None, :], others), dim=-2)


def root_path(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Yaw [..., T, 1] in radians (a whole angle, from the heading frame to the world) and path [..., T, 2] (x, z)."""
    yaw = 2 * _delayed_sum(features[..., 0:1])
    return yaw, _delayed_sum(turn(features[..., 1:3], yaw, shift=1))


def _delayed_sum(x: torch.Tensor) -> torch.Tensor:
    """Over [..., T, C]: each row is the sum of the rows before it."""
    return torch.cumsum(x, dim=-2) - x


def turn(xz: torch.Tensor, yaw: torch.Tensor, shift: int) -> torch.Tensor:
    """Turn x, z pairs from the heading frame to the world, by the yaw `shift` frames later.

    A root velocity was measured in the heading of the frame it leads to, hence the shift of one.
    """
    if shift:
        yaw = torch.cat((yaw[..., shift:, :], yaw[..., -1:, :]), dim=-2)
    cos, sin = torch.cos(yaw)[..., 0], torch.sin(yaw)[..., 0]
    x, z = xz[..., 0], xz[..., 1]
    return torch.stack((cos * x - sin * z, sin * x + cos * z), dim=-1)


def mirror_joints(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """The mirror image of joints [..., J, 3]: x negated, left and right joints exchanged."""
    return joints[..., list(spec.mirror), :] * np.array([-1.0, 1.0, 1.0])


# Metres a second: a foot that is low and slides slower than the first stands, one faster than the second swings.
STANDING_SPEED, SWINGING_SPEED = 0.3, 0.6


def plant_feet(features: torch.Tensor, spec: DatasetSpec, height: float = 0.05, strength: float = 1.0) -> torch.Tensor:
    """Features [T, D] whose root path is changed so that feet on the floor do not slide; the poses stay as they are.

    A decoder errs in every frame's root velocity a little, and a foot that should stand still shows it. A foot counts
    as standing where it is low (within `height` metres of the motion's floor, fading out), slow, and the contact
    features say so; what it moves is taken off the root's step. `strength` 0 changes nothing, 1 takes off all of it.
    """
    joints = features_to_joints(features, spec) * spec.metres_per_unit
    feet = torch.stack([joints[:, [toe, ankle]] for ankle, toe in (spec.left_foot, spec.right_foot)])  # [2, T, 2, 3]
    lows = feet[..., 1] - feet[..., 1].amin(dim=(0, 1))  # of toes and ankles, above the lowest each comes
    standing = (1.5 - lows / height).clamp(0, 1).amax(dim=-1)  # [2, T]
    contact = features[:, spec.contact_slice].unflatten(-1, (2, 2)).amax(dim=-1).T.clamp(0, 1)
    steps = feet[:, 1:, 0][..., [0, 2]] - feet[:, :-1, 0][..., [0, 2]]  # [2, T - 1, 2]
    # a foot that swings close above the floor is not to stop the body that it carries forward
    speed = steps.norm(dim=-1) * spec.fps
    slow = ((SWINGING_SPEED - speed) / (SWINGING_SPEED - STANDING_SPEED)).clamp(0, 1)
    weight = ((standing * contact)[:, :-1] * slow)[..., None]  # of the step that begins at each frame
    slide = (weight * steps).sum(dim=0) / weight.sum(dim=0).clamp(min=1.0)
    slide = torch.cat((slide, torch.zeros_like(slide[:1]))) * (strength / spec.metres_per_unit)
    # from the world to the heading that each number is given in: the root's velocity in that of the frame it leads to
    yaw, _ = root_path(features)
    planted = features.clone()
    planted[:, 1:3] -= turn(slide, -yaw, shift=1)
    velocities = planted[:, spec.velocity_slice].unflatten(-1, (spec.joints, 3))
    velocities[..., [0, 2]] -= turn(slide, -yaw, shift=0)[:, None]
    planted[:, spec.velocity_slice] = velocities.flatten(1)
    return planted
