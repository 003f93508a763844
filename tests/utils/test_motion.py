"""Joints to features and back: the published clip, and what must hold of every motion."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.spec import BANDAI, KIT, T2M
from tests.motions import standing, turned, walking
from utils.motion import (
    canonical,
    features_to_joints,
    foot_contacts,
    joints_to_features,
    mirror_joints,
    plant_feet,
)
from utils.skeleton import bone_lengths, facing, retarget

both = pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)


def uniform(spec, **options):
    """A walk in the dataset's own skeleton and origin, which the features keep as it is."""
    return canonical(retarget(walking(spec, **options), spec), spec)


def symmetric(spec):
    """The same dataset with left and right bones alike: HumanML3D's differ by a few millimetres."""
    if spec.bone_lengths is None:
        return spec
    lengths = np.array([0.0, *spec.bone_lengths])
    return dataclasses.replace(spec, bone_lengths=tuple(((lengths + lengths[list(spec.mirror)]) / 2)[1:]))


def distance(a, b, spec):
    """The largest error of any joint, in metres."""
    return np.linalg.norm(np.asarray(a) - np.asarray(b), axis=-1).max() * spec.metres_per_unit


# --- Golden numbers


def test_features_of_the_published_clip(published_clip):
    features = joints_to_features(published_clip["joints"], T2M)
    np.testing.assert_allclose(features, published_clip["features_from_joints"], atol=1e-4)


def test_joints_of_the_published_clip(published_clip):
    joints = features_to_joints(published_clip["features_official"], T2M)
    np.testing.assert_allclose(joints, published_clip["joints"], atol=1e-4)


def test_uniform_skeleton_is_the_published_one(published_clip):
    np.testing.assert_allclose(T2M.rest_offsets(), published_clip["offsets"], atol=1e-6)


def test_joints_of_golden_features(golden):
    joints = features_to_joints(golden["rep.features"], T2M)
    torch.testing.assert_close(joints, golden["rep.joints"], atol=1e-4, rtol=0)


# --- The layout of the vector


@both
def test_vector_and_its_parts(spec):
    """Every part of the vector against what its definition says of the joints, in the frame of the joints."""
    spec = symmetric(spec)
    joints = uniform(spec, turn=0.0)  # walks straight on: the heading stays +z
    features = joints_to_features(joints, spec)
    frames = len(joints) - 1
    assert features.shape == (frames, {22: 263, 21: 251}[spec.joints]) and features.dtype == np.float32
    steps = np.diff(joints, axis=0)
    expected = (
        np.zeros((frames, 1)),
        steps[:, 0, [0, 2]],
        joints[:-1, 0, 1:2],
        (joints - joints[:, :1] * [1, 0, 1])[:-1, 1:].reshape(frames, -1),
    )
    head = np.concatenate(expected, axis=1)
    np.testing.assert_allclose(features[:, : head.shape[1]], head, atol=2e-6 / spec.metres_per_unit)
    velocities = features[:, -4 - 3 * spec.joints : -4]
    np.testing.assert_allclose(velocities, steps.reshape(frames, -1), atol=2e-6 / spec.metres_per_unit)
    feet = steps[:, [*spec.left_foot, *spec.right_foot]]
    np.testing.assert_array_equal(features[:, -4:], (feet**2).sum(-1) < spec.foot_threshold)
    columns = features[:, spec.rotation_slice].reshape(frames, spec.joints - 1, 2, 3)
    products = columns @ columns.swapaxes(-1, -2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(2), products.shape), atol=1e-5)


def test_yaw_velocity_is_half_the_angle():
    """Turning on the spot at a steady rate; the smoothing touches only the ends."""
    rate = 0.02
    joints = np.stack([turned(pose, i * rate) for i, pose in enumerate(standing(T2M, 200))])
    yaw = joints_to_features(joints, T2M)[80:120, 0]
    np.testing.assert_allclose(np.abs(yaw), np.sin(rate / 2), rtol=1e-4)
    back = features_to_joints(joints_to_features(joints, T2M), T2M)
    assert facing(back[100], T2M)[0] > 0  # and the sign is the one that turns it to +x


def test_contacts_of_a_standing_body():
    for spec in (T2M, KIT, BANDAI):
        np.testing.assert_array_equal(joints_to_features(standing(spec), spec)[:, -4:], 1.0)


def test_contacts_are_left_then_right():
    joints = standing(T2M, 3)
    for column, joint in enumerate((7, 10, 8, 11)):
        moved = joints.copy()
        moved[1:, joint, 1] += 0.05  # 0.0025 squared, just over the threshold
        expected = np.ones((2, 4))
        expected[0, column] = 0
        np.testing.assert_array_equal(foot_contacts(moved, T2M), expected)
        moved[1:, joint, 1] -= 0.01  # 0.0016, just under it
        np.testing.assert_array_equal(foot_contacts(moved, T2M), 1)


@both
def test_canonical(spec):
    joints = canonical(turned(walking(spec), 2.0) + np.array([5.0, -3.0, 2.0]), spec)
    assert joints[..., 1].min() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(joints[0, 0, [0, 2]], 0, atol=1e-9)
    ahead = facing(joints[0], spec)
    np.testing.assert_allclose(ahead / np.linalg.norm(ahead), [0, 0, 1], atol=1e-9)


# --- There and back


@both
@pytest.mark.parametrize("turn", [0.0, 1.0, -2.5])
def test_round_trip_of_joints(spec, turn):
    joints = uniform(spec, turn=turn, frames=120)
    again = features_to_joints(joints_to_features(joints, spec), spec)
    assert distance(again, joints[:-1], spec) < 1e-4


@both
@pytest.mark.parametrize("turn", [6.0, -9.0])
def test_round_trip_of_a_body_that_turns_right_round(spec, turn):
    joints = uniform(spec, turn=turn, frames=180)
    again = features_to_joints(joints_to_features(joints, spec), spec)
    assert distance(again, joints[:-1], spec) < 1e-3


def test_round_trip_of_features():
    features = joints_to_features(walking(T2M), T2M)
    joints = features_to_joints(features, T2M)
    np.testing.assert_allclose(features_to_joints(joints_to_features(joints, T2M), T2M), joints[:-1], atol=1e-4)
    assert bone_lengths(joints, T2M) == pytest.approx(np.tile(T2M.bone_lengths, (len(joints), 1)), abs=1e-4)


def test_velocities_are_seen_from_the_earlier_heading():
    """The joints' steps in the world, turned back by the yaw summed up to the frame they start from."""
    features = joints_to_features(walking(T2M, turn=2.0), T2M)
    joints = features_to_joints(features.astype(np.float64), T2M)
    yaw = 2 * np.concatenate(([0], np.cumsum(features[:-2, 0])))
    steps = np.diff(joints, axis=0)
    across = (steps[..., 0] + 1j * steps[..., 2]) * np.exp(-1j * yaw)[:, None]
    expected = np.stack((across.real, steps[..., 1], across.imag), axis=-1).reshape(len(steps), -1)
    np.testing.assert_allclose(features[:-1, T2M.velocity_slice], expected, atol=1e-5)


def test_root_path_is_a_plain_sum():
    """A second way to the root and the yaw, frame by frame with complex numbers."""
    rng = np.random.default_rng(0)
    features = 0.1 * rng.standard_normal((40, T2M.dim))
    joints = features_to_joints(features, T2M)
    place, yaw = 0j, 0.0
    for frame, row in enumerate(features):
        if frame:
            yaw += 2 * features[frame - 1, 0]
            place += complex(features[frame - 1, 1], features[frame - 1, 2]) * np.exp(1j * yaw)
        np.testing.assert_allclose(joints[frame, 0], (place.real, row[3], place.imag), atol=1e-9)
        for joint in (1, 21):
            x, y, z = row[4 + 3 * (joint - 1) : 7 + 3 * (joint - 1)]
            across = place + complex(x, z) * np.exp(1j * yaw)
            np.testing.assert_allclose(joints[frame, joint], (across.real, y, across.imag), atol=1e-9)


# --- What changes nothing


WALK = {spec.name: walking(spec, frames=45) for spec in (T2M, KIT)}
FEATURES = {spec.name: joints_to_features(WALK[spec.name], spec) for spec in (T2M, KIT)}


@both
@settings(max_examples=15)
@given(angle=st.floats(-10, 10), shift=st.tuples(*[st.floats(-20, 20)] * 3))
def test_turning_and_shifting_change_nothing(spec, angle, shift):
    moved = turned(WALK[spec.name], angle) + np.array(shift) / spec.metres_per_unit
    features = joints_to_features(moved, spec)
    np.testing.assert_allclose(features, FEATURES[spec.name], rtol=1e-5, atol=1e-5 / spec.metres_per_unit)


@both
@pytest.mark.parametrize("degrees", [90, 180, -180, 270])
def test_quarter_and_half_turns_change_nothing(spec, degrees):
    """Facing exactly backwards has no shortest rotation to +z: the one about the vertical is meant."""
    features = joints_to_features(turned(WALK[spec.name], np.radians(degrees)), spec)
    np.testing.assert_allclose(features, FEATURES[spec.name], rtol=1e-5, atol=1e-5 / spec.metres_per_unit)


def test_size_of_the_body_changes_nothing():
    features = joints_to_features(1.7 * WALK["t2m"], T2M)
    np.testing.assert_allclose(features, FEATURES["t2m"], atol=1e-5)


# --- Mirror images


@both
def test_mirror_of_the_mirror(spec):
    joints = np.random.default_rng(0).standard_normal((2, 4, spec.joints, 3))
    once = mirror_joints(joints, spec)
    assert np.abs(once - joints).max() > 0.1
    np.testing.assert_array_equal(mirror_joints(once, spec), joints)
    left, right = spec.left_foot[1], spec.right_foot[1]
    np.testing.assert_array_equal(once[..., left, :], joints[..., right, :] * [-1, 1, 1])


@both
def test_features_of_the_mirror_image_are_of_the_mirrored_motion(spec):
    spec = symmetric(spec)
    joints = walking(spec, turn=1.0)
    plain, mirrored = (
        features_to_joints(joints_to_features(motion, spec), spec) for motion in (joints, mirror_joints(joints, spec))
    )
    assert distance(mirrored, plain, spec) > 0.1
    assert distance(mirrored, mirror_joints(plain, spec), spec) < 1e-4


# --- Arrays, tensors, gradients, batches


def test_tensors_and_arrays_agree():
    features = FEATURES["t2m"]
    array, tensor = features_to_joints(features, T2M), features_to_joints(torch.from_numpy(features), T2M)
    assert isinstance(array, np.ndarray) and isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(array, tensor.numpy(), atol=1e-6)


def test_batches_are_their_rows():
    rows = torch.randn(2, 3, 20, KIT.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = features_to_joints(rows, KIT)
    assert together.shape == (2, 3, 20, 21, 3)
    torch.testing.assert_close(together[1, 2], features_to_joints(rows[1, 2], KIT))


def test_gradient():
    features = torch.from_numpy(FEATURES["t2m"][:8]).double().requires_grad_()
    joints = features_to_joints(features, T2M)
    joints[-1].sum().backward()
    gradient = features.grad
    assert gradient[:-1, :3].abs().min() > 0  # yaw and root velocity of every row before act on the last
    assert (gradient[-1, :3] == 0).all() and (gradient[-1, 3:67] != 0).any()
    assert (gradient[:-1, 3:] == 0).all() and (gradient[:, 67:] == 0).all()
    step = 1e-6
    for place in ((2, 0), (0, 1), (7, 5)):
        nudged = features.detach().clone()
        nudged[place] += step
        slope = (features_to_joints(nudged, T2M)[-1].sum() - joints[-1].sum().detach()) / step
        assert slope.item() == pytest.approx(gradient[place].item(), rel=1e-3, abs=1e-4)


# --- What is refused


@pytest.mark.parametrize(
    "joints",
    [
        np.zeros((10, 21, 3)),
        np.zeros((10, 22, 2)),
        np.zeros((10, 66)),
        walking(T2M)[:1],
        np.zeros((0, 22, 3)),
        np.where(np.arange(22)[:, None] == 5, np.nan, walking(T2M)),
        np.where(np.arange(22)[:, None] == 5, np.inf, walking(T2M)),
    ],
    ids=["21 joints", "2 coordinates", "flat", "one frame", "no frame", "nan", "inf"],
)
def test_joints_that_are_refused(joints):
    with pytest.raises(ValueError, match=r"t2m wants joints|nan or infinite"):
        joints_to_features(joints, T2M)


def test_features_that_are_refused():
    with pytest.raises(ValueError, match="263 features, not 251"):
        features_to_joints(np.zeros((4, 251)), T2M)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("joint", [16, 15, None], ids=["shoulder", "head", "all"])
def test_bones_without_length_never_become_nan(joint):
    """A broken file may put a joint on its parent, or all of them in one point: refuse it or give numbers."""
    joints = walking(T2M)
    if joint is None:
        joints[:] = 0.5
    else:
        joints[10:, joint] = joints[10:, T2M.parents[joint]]
    try:
        features = joints_to_features(joints, T2M)
    except ValueError:
        return
    assert np.isfinite(features).all()


@pytest.mark.parametrize("spec", [T2M, KIT], ids=["t2m", "kit"])
@pytest.mark.parametrize("turn", [0.0, 0.02], ids=["straight", "turning"])
def test_feet_of_a_standing_body_are_planted(spec, turn):
    """A body that stands is made to drift and turn; planted, it stays where it was."""
    features = torch.from_numpy(joints_to_features(standing(spec), spec))
    features[:, 0], features[:, 2] = turn, 0.01 / spec.metres_per_unit
    before, after = (features_to_joints(x, spec) * spec.metres_per_unit for x in (features, plant_feet(features, spec)))
    toes = [spec.left_foot[1], spec.right_foot[1]]
    drift = [(joints[-1, toes] - joints[0, toes]).mean(dim=0).norm() for joints in (before, after)]
    assert drift[0] > 0.05 and drift[1] < 1e-3
    # the pose is the same, and so is the sum of what the feet do relative to the root
    torch.testing.assert_close(after - after[:, :1], before - before[:, :1], rtol=0, atol=1e-5)


def test_planting_leaves_feet_in_the_air_alone():
    features = torch.from_numpy(joints_to_features(standing(T2M), T2M))
    features[:, 2], features[:, T2M.contact_slice] = 0.02, 0.0
    torch.testing.assert_close(plant_feet(features, T2M), features)
    features[:, T2M.contact_slice] = 1.0
    torch.testing.assert_close(plant_feet(features, T2M, strength=0.0), features)


@pytest.mark.parametrize("speed, stays", [(0.2, True), (0.7, False)])
def test_planting_leaves_feet_that_swing_alone(speed, stays):
    """A standing body made to glide, in metres a second: slowly, that is sliding; fast, its feet do not stand."""
    features = torch.from_numpy(joints_to_features(standing(T2M), T2M))
    features[:, 2] = speed / T2M.fps
    planted = plant_feet(features, T2M)
    moved = features_to_joints(planted, T2M)[-1, 0] - features_to_joints(planted, T2M)[0, 0]
    assert moved.norm() == pytest.approx(0.0 if stays else speed / T2M.fps * (len(features) - 1), abs=1e-3)


def test_planting_keeps_velocities_in_step_with_positions():
    """What the velocity features say is what the joints do, before and after."""
    features = torch.from_numpy(joints_to_features(walking(T2M), T2M))
    features[:, 2] += 0.01
    planted = plant_feet(features, T2M)
    moved = (features_to_joints(planted, T2M) - features_to_joints(features, T2M)).diff(dim=0)[:, 0]
    told = (planted - features)[:-1, T2M.velocity_slice].unflatten(-1, (22, 3))[:, 0]
    torch.testing.assert_close(moved.norm(dim=-1), told.norm(dim=-1), rtol=1e-3, atol=1e-5)
