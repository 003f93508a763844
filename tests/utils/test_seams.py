"""Kept and made frames: nothing of a hidden frame is left, joined places and speeds go on, bent paths arrive."""

import numpy as np
import pytest
import torch

from dataset.spec import BANDAI, KIT
from tests.motions import turned, walking
from utils.metrics import seam_jumps, velocity_jumps
from utils.motion import features_to_joints, joints_to_features, root_path
from utils.seams import bend_root, hide_frames, join_kept, ranges_of, stand_on


def mask(frames, *ranges):
    made = np.zeros(frames, dtype=bool)
    for first, end in ranges:
        made[first:end] = True
    return made


def test_ranges_of_a_mask():
    assert ranges_of(mask(9, (0, 2), (5, 6), (8, 9))) == [(0, 2), (5, 6), (8, 9)]
    assert ranges_of(np.zeros(3, dtype=bool)) == [] and ranges_of(torch.ones(3, dtype=torch.bool)) == [(0, 3)]


RANGES = [[(20, 40)], [(0, 30)], [(30, 60)], [(0, 15), (45, 60)], [(1, 3), (30, 31)], [(10, 12), (13, 20)]]


@pytest.mark.parametrize("ranges", RANGES)
def test_features_of_kept_frames_know_nothing_of_hidden_ones(ranges):
    joints, hidden = walking(BANDAI, 60), mask(60, *ranges)
    other = np.where(hidden[:, None, None], np.random.default_rng(0).normal(size=joints.shape), joints)
    first, second = hide_frames(joints, hidden), hide_frames(other, hidden)
    assert np.array_equal(first, second), "so all that is made of them is the same"
    assert first.shape == (61, 22, 3) and np.array_equal(first[:60][~hidden], joints[~hidden])
    features = joints_to_features(first, BANDAI)
    assert features.shape == (60, 263) and np.isfinite(features).all()


def test_hidden_frames_stand_as_the_nearest_kept_one():
    joints = walking(BANDAI, 60)
    shown = hide_frames(joints, mask(60, (20, 40)))
    step = joints[19] - joints[18]
    np.testing.assert_allclose(shown[20:30], np.broadcast_to(joints[19] + step, (10, 22, 3)))
    np.testing.assert_allclose(shown[30:40], np.broadcast_to(joints[40], (10, 22, 3)))
    np.testing.assert_allclose(shown[60], 2 * joints[59] - joints[58])


def test_nothing_hidden_is_the_motion_and_a_frame():
    joints = walking(BANDAI, 60)
    found = joints_to_features(hide_frames(joints[:59], mask(59)), BANDAI)
    wanted = joints_to_features(joints, BANDAI)
    np.testing.assert_allclose(found[:40, 4:67], wanted[:40, 4:67], atol=2e-3)  # but for the heading's smoothing
    assert found.shape == wanted.shape


# --- Joining


def smooth_motion(frames=60):
    return torch.from_numpy(joints_to_features(walking(BANDAI, frames + 1), BANDAI))


def off(source, slope=0.0):
    """A decoder's version: off in every place by some 5 cm, and growing."""
    made = source.clone()
    error = 0.05 * torch.randn(63, generator=torch.Generator().manual_seed(0))
    made[:, 3] += 0.05
    made[:, 4:67] += error * (1 + slope * torch.arange(len(source))[:, None])
    made[:, 1:3] += 0.01
    return made


@pytest.mark.parametrize("slope", [0.0, 0.05])
@pytest.mark.parametrize("ranges", [[(20, 40)], [(0, 20)], [(40, 60)], [(20, 25)], [(30, 31)]])
def test_joined_motion_goes_on_without_a_jump(ranges, slope):
    source = smooth_motion()
    made, generated = off(source, slope), torch.from_numpy(mask(60, *ranges))
    seams = [seam for first, end in ranges for seam in (first, end) if 2 <= seam <= 57]

    def jump(features):
        return seam_jumps(features_to_joints(features, BANDAI), seams, 20)[1].mean()

    hard = torch.where(generated[:, None], made, source)
    joined = join_kept(source, made, generated, BANDAI, 8)
    assert torch.equal(joined[~generated], source[~generated])
    usual = velocity_jumps(features_to_joints(source, BANDAI), 20).mean()
    assert jump(hard) > 5 * usual
    if ranges[0][1] - ranges[0][0] > 10:
        assert jump(joined) < 1.5 * usual
    assert jump(joined) < jump(hard)


def test_a_perfect_decoder_is_left_alone():
    source = smooth_motion()
    joined = join_kept(source, source.clone(), torch.from_numpy(mask(60, (20, 40))), BANDAI, 8)
    torch.testing.assert_close(joined, source)


def test_the_blend_ends_where_it_says():
    source = smooth_motion()
    made, generated = off(source, 0.05), torch.from_numpy(mask(60, (20, 40)))
    joined = join_kept(source, made, generated, BANDAI, 5)
    assert torch.equal(joined[25:35], made[25:35]) and (joined[24, :193] != made[24, :193]).any()
    none = join_kept(source, made, generated, BANDAI, 0)
    assert torch.equal(none, torch.where(generated[:, None], made, source))


# --- Bending


@pytest.mark.parametrize("spec", [BANDAI, KIT], ids=lambda spec: spec.name)
def test_bent_frames_lead_to_where_it_stood(spec):
    source = torch.from_numpy(joints_to_features(walking(spec, 61, 1.0, 1.5), spec))
    other = torch.from_numpy(joints_to_features(walking(spec, 61, 2.0, -0.5), spec))
    mixed = source.clone()
    mixed[20:40] = other[20:40]
    bent = bend_root(mixed, source, 20, 40, spec)
    stood, found, straight = (features_to_joints(x, spec) * spec.metres_per_unit for x in (source, bent, mixed))
    torch.testing.assert_close(found[40:], stood[40:], rtol=0, atol=1e-4)
    torch.testing.assert_close(found[:20], stood[:20], rtol=0, atol=1e-4)
    assert (straight[40:] - stood[40:]).abs().max() > 0.2
    kept = torch.from_numpy(~mask(60, (20, 40)))
    assert torch.equal(bent[kept], source[kept])
    # the velocities told are those of the joints
    yaw = -root_path(bent)[0][:, 0]
    steps = np.diff(features_to_joints(bent, spec).numpy(), axis=0)[25]
    told = bent[25, spec.velocity_slice].reshape(-1, 3)
    cos, sin = torch.cos(yaw[25]).item(), torch.sin(yaw[25]).item()
    ahead = np.stack((cos * steps[:, 0] - sin * steps[:, 2], steps[:, 1], sin * steps[:, 0] + cos * steps[:, 2]), -1)
    np.testing.assert_allclose(told, ahead, atol=1e-5 / spec.metres_per_unit)


def test_bending_turns_the_short_way():
    source, mixed = smooth_motion(), smooth_motion()
    mixed[20:40, 0] += np.pi / 20 * 0.95  # 1.9 half turns too far
    bent = bend_root(mixed, source, 20, 40, BANDAI)
    assert (bent[20:40, 0] - mixed[20:40, 0]).sum() == pytest.approx(0.05 * np.pi, abs=1e-3)


def test_standing_on():
    joints = walking(BANDAI, 20)
    moved = turned(joints, 2.1) + [3.0, 0.0, -1.0]
    np.testing.assert_allclose(stand_on(joints, joints[4:5], moved[4:5]), moved, atol=1e-9)
    np.testing.assert_allclose(stand_on(moved, moved[:9], joints[:9]), joints, atol=1e-9)
    trembling = moved + 0.01 * np.random.default_rng(0).normal(size=moved.shape)
    np.testing.assert_allclose(stand_on(joints, joints[:9], trembling[:9]), moved, atol=0.01)
