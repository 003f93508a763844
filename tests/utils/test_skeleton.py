"""Kinematics there and back, and the uniform skeleton."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dataset.spec import KIT, T2M
from tests.motions import standing, turned, walking
from utils.skeleton import (
    bone_lengths,
    facing,
    forward_kinematics,
    heading,
    inverse_kinematics,
    retarget,
)

both = pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)


@both
def test_the_made_walk_keeps_its_bones(spec):
    lengths = bone_lengths(walking(spec), spec) * spec.metres_per_unit
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)
    assert lengths.min() > 0.02 and lengths.max() < 0.5


@both
def test_bone_lengths_by_hand(spec):
    joints = np.random.default_rng(0).standard_normal((3, spec.joints, 3))
    lengths = bone_lengths(joints, spec)
    for chain in spec.chains:
        for parent, joint in zip(chain, chain[1:]):
            np.testing.assert_allclose(
                lengths[:, joint - 1], np.sqrt(((joints[:, joint] - joints[:, parent]) ** 2).sum(1))
            )


@both
@pytest.mark.parametrize("smooth", [False, True])
def test_forward_of_inverse_kinematics_is_the_pose(spec, smooth):
    joints = walking(spec, turn=2.0)
    rotations = inverse_kinematics(joints, spec, smooth)
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1.0, atol=1e-9)
    again = forward_kinematics(rotations, joints[:, 0], bone_lengths(joints[0], spec), spec)
    np.testing.assert_allclose(again, joints, atol=1e-9 / spec.metres_per_unit)


@both
def test_forward_kinematics_against_scipy(spec):
    rng = np.random.default_rng(1)
    drawn = Rotation.random(2 * spec.joints, rng=rng)
    lengths, root = rng.uniform(0.1, 0.5, spec.joints - 1), rng.standard_normal((2, 3))
    rotations = drawn.as_quat(scalar_first=True).reshape(2, spec.joints, 4)
    joints = forward_kinematics(rotations, root, lengths, spec)
    for frame in range(2):
        turn = drawn[frame * spec.joints : (frame + 1) * spec.joints]
        for chain in spec.chains:
            so_far, place = turn[0], joints[frame, chain[0]]
            for joint in chain[1:]:
                so_far = so_far * turn[joint]
                place = place + so_far.apply(np.array(spec.rest_directions[joint]) * lengths[joint - 1])
                np.testing.assert_allclose(joints[frame, joint], place, atol=1e-12)
    np.testing.assert_array_equal(joints[:, 0], root)


@both
def test_facing_turns_with_the_body(spec):
    ahead = facing(standing(spec)[0], spec)
    np.testing.assert_allclose(ahead / np.linalg.norm(ahead), [0, 0, 1], atol=1e-9)
    aside = facing(turned(standing(spec), np.pi / 2)[0], spec)
    np.testing.assert_allclose(aside / np.linalg.norm(aside), [1, 0, 0], atol=1e-9)


@both
def test_heading_takes_the_forward_direction_to_z(spec):
    """Up to the format's slip in the hips' sign, which cancels in a symmetric body."""
    yaw = 1.0
    q = heading(turned(standing(spec), yaw), spec, smooth=False)
    np.testing.assert_allclose(Rotation.from_quat(q, scalar_first=True).as_rotvec(), [[0, -yaw, 0]] * len(q), atol=1e-9)


def test_heading_counts_the_hips_against_the_shoulders():
    """spec/data.md 2, step 4: across = (right shoulder - left shoulder) + (left hip - right hip)."""
    joints = standing(T2M, 1)
    hips = [1, 2]
    joints[:, hips] = joints[:, [0]] + turned(joints[:, hips] - joints[:, [0]], 0.5)
    across = (joints[0, 17] - joints[0, 16]) + (joints[0, 1] - joints[0, 2])
    expected = -np.arctan2(*np.cross([0, 1, 0], across)[[0, 2]])
    assert abs(expected) > 0.1
    rotvec = Rotation.from_quat(heading(joints, T2M, smooth=False)[0], scalar_first=True).as_rotvec()
    np.testing.assert_allclose(rotvec, [0, expected, 0], atol=1e-9)


def test_smoothed_heading_lags_a_sudden_turn():
    """A Gaussian of 20 frames: half way at the step, and 16 % after one sigma before it."""
    joints = standing(T2M, 200)
    joints[100:] = turned(joints[100:], np.pi / 2)
    q = Rotation.from_quat(heading(joints, T2M, smooth=True), scalar_first=True)
    forward = q.inv().apply([0, 0, 1])
    share = forward[:, 0] / (forward[:, 0] + forward[:, 2])
    assert share[[0, 199]] == pytest.approx([0, 1], abs=1e-6)
    assert share[99:101].mean() == pytest.approx(0.5, abs=1e-6)
    assert share[79:81].mean() == pytest.approx(0.1587, abs=2e-3)


@pytest.mark.parametrize("size", [0.7, 1.0, 1.5])
def test_retarget_gives_the_uniform_skeleton(size):
    joints = size * walking(T2M)
    uniform = retarget(joints, T2M)
    lengths = bone_lengths(uniform, T2M)
    np.testing.assert_allclose(lengths, np.broadcast_to(T2M.bone_lengths, lengths.shape), atol=1e-9)
    for parent, joint in zip(T2M.parents[1:], range(1, T2M.joints)):  # the bones point where they pointed
        before, after = (x[:, joint] - x[:, parent] for x in (joints, uniform))
        cosine = np.sum(before * after, -1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
        np.testing.assert_allclose(cosine, 1.0, atol=1e-9)
    legs = bone_lengths(joints[0], T2M)[[4, 7]].sum()
    np.testing.assert_allclose(uniform[:, 0] / joints[:, 0], (T2M.bone_lengths[4] + T2M.bone_lengths[7]) / legs)


def test_retarget_of_the_uniform_skeleton_changes_nothing():
    joints = retarget(walking(T2M), T2M)
    np.testing.assert_allclose(retarget(joints, T2M), joints, atol=1e-9)
    own = dataclasses.replace(T2M, bone_lengths=None)
    np.testing.assert_array_equal(retarget(walking(T2M), own), walking(T2M))
