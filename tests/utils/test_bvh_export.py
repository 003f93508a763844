"""BVH files as others read them: an independent reader's forward kinematics, the rest pose, names, odd motions."""

import bvhio
import numpy as np
import pytest

from dataset.motion_file import read_motion
from dataset.spec import BANDAI, KIT, T2M
from tests.conftest import ROOT
from tests.motions import turned, walking
from utils.bvh import joint_positions, parse_bvh
from utils.bvh_export import body_frames, bvh_names, motion_bvh

SPECS = pytest.mark.parametrize("spec", [T2M, KIT, BANDAI], ids=lambda spec: spec.name)


def uneven(spec, frames=20):
    """[T, J, 3] metres: someone who walks, and whose bones change by some centimetres as those of a decoder do."""
    joints = turned(walking(spec, frames, turn=3.0), 2.0) * spec.metres_per_unit
    return joints + 0.02 * np.random.default_rng(0).standard_normal(joints.shape)


def error(joints, spec):
    """The largest distance, in metres, between joints and what our own reader makes of their file."""
    bvh = parse_bvh(motion_bvh(joints, spec, spec.fps))
    places = joint_positions(bvh)[:, [bvh.names.index(name) for name in bvh_names(spec)]] / 100
    return np.linalg.norm(places - joints, axis=-1).max()


@SPECS
def test_an_independent_reader_finds_the_joints(spec, tmp_path):
    """bvhio's own parser and forward kinematics, to a millimetre: in fact to some micrometres."""
    joints = uneven(spec)
    (tmp_path / "a.bvh").write_text(motion_bvh(joints, spec, spec.fps))
    assert bvhio.readAsBvh(str(tmp_path / "a.bvh")).FrameTime == pytest.approx(1 / spec.fps)
    root = bvhio.readAsHierarchy(str(tmp_path / "a.bvh"))
    for frame, pose in enumerate(joints):
        root.loadPose(frame)
        places = {joint.Name: np.array(joint.PositionWorld) / 100 for joint, *_ in root.layout()}
        found = np.array([places[name] for name in bvh_names(spec)])
        assert np.linalg.norm(found - pose, axis=-1).max() < 2e-5


@SPECS
def test_rest_pose(spec):
    """A T-pose that faces +z, each bone as long as it is on average."""
    joints = walking(spec, 40) * spec.metres_per_unit
    bvh = parse_bvh(motion_bvh(joints, spec, spec.fps))
    assert bvh.fps == pytest.approx(spec.fps)
    place = np.zeros_like(bvh.offsets)
    for joint, parent in enumerate(bvh.parents):
        place[joint] = bvh.offsets[joint] + (place[parent] if parent >= 0 else 0)
    at = {name: place[i] / 100 for i, name in enumerate(bvh.names)}
    assert not place[0].any()
    for side, sign in (("Left", 1), ("Right", -1)):
        arm, fore, hand = (at[f"{side}{part}"] for part in ("Arm", "ForeArm", "Hand"))
        assert sign * (hand - arm)[0] == pytest.approx(np.linalg.norm(hand - arm)) and sign * (hand - arm)[0] > 0.45
        assert fore[1] == pytest.approx(arm[1]) and sign * arm[0] > 0.1
        hip, knee, foot, toe = (at[f"{side}{part}"] for part in ("UpLeg", "Leg", "Foot", "ToeBase"))
        assert hip[1] - foot[1] == pytest.approx(np.linalg.norm(hip - foot)) and hip[1] - foot[1] > 0.7
        assert toe[2] - foot[2] > 0.08 and abs((toe - foot)[0]) < 1e-6 and sign * hip[0] > 0.04
        assert knee[1] < hip[1]
    assert at["Head"][1] > at["Neck"][1] > at["Spine1"][1] > at["Spine"][1] > 0
    assert {name for name in bvh.names if name.endswith(" end")} == {
        f"{name} end" for name in ("Head", "LeftHand", "RightHand", "LeftToeBase", "RightToeBase")
    }
    lengths = {name: np.linalg.norm(bvh.offsets[i]) / 100 for i, name in enumerate(bvh.names)}
    for name, joint, parent in zip(bvh_names(spec), joints.swapaxes(0, 1), spec.parents):
        if parent >= 0:
            assert lengths[name] == pytest.approx(np.linalg.norm(joint - joints[:, parent], axis=-1).mean(), abs=1e-6)


def test_names():
    """Mixamo's, each once; the skeleton of KIT has heels besides, and no collar bones."""
    assert bvh_names(T2M)[:3] == ["Hips", "LeftUpLeg", "RightUpLeg"] and len(set(bvh_names(T2M))) == 22
    kit = bvh_names(KIT)
    assert {"Hips", "Spine", "Head", "LeftArm", "LeftHand", "RightHeel", "RightToeBase"} <= set(kit) and len(kit) == 21


def test_frames_are_rotations_and_the_rest_pose_has_none():
    frames = body_frames(uneven(T2M), T2M)[1]
    np.testing.assert_allclose(
        frames @ frames.swapaxes(-1, -2), np.broadcast_to(np.eye(3), frames.shape[:2] + (3, 3)), atol=1e-9
    )
    assert (np.linalg.det(frames) > 0).all()
    offsets, _ = body_frames(walking(T2M), T2M)
    rest = np.zeros((3, 22, 3))
    for joint, parent in enumerate(T2M.parents):
        rest[:, joint] = offsets[joint] + (rest[:, parent] if parent >= 0 else 0)
    np.testing.assert_allclose(body_frames(rest, T2M)[1], np.broadcast_to(np.eye(3), (3, 22, 3, 3)), atol=1e-6)


@SPECS
def test_odd_motions(spec):
    """One frame, upside down, lying, a bone of no length, all in one point: finite numbers, and the joints again."""
    joints = uneven(spec)
    collapsed = joints.copy()
    collapsed[:, 5] = collapsed[:, spec.parents[5]]
    for odd in (
        joints[:1],
        joints * (1, -1, -1),
        joints[..., [0, 2, 1]],
        collapsed,
        np.zeros_like(joints),
        joints * 30,
    ):
        assert error(odd, spec) < 1e-4


def test_angles_do_not_jump():
    """Someone who spins several times: programs interpolate between the numbers of two frames."""
    joints = np.concatenate([turned(walking(T2M, 1), angle) for angle in np.linspace(0, 20, 100)])
    bvh = parse_bvh(motion_bvh(joints, T2M, 20))
    assert np.abs(np.diff(bvh.motion[:, :6], axis=0)).max() < 90 and np.abs(bvh.motion[:, 3:6]).max() > 700


def test_edit_takes_what_was_exported(tmp_path):
    """Recognised as Mixamo's, in centimetres, the same joints."""
    joints = np.load(ROOT / "pretrained/clips/walk.npy")
    if joints.ndim == 2:
        from utils.motion import features_to_joints

        joints = features_to_joints(joints, BANDAI)
    (tmp_path / "a.bvh").write_text(motion_bvh(joints, BANDAI, 20.0))
    back = read_motion(tmp_path / "a.bvh", BANDAI).joints
    np.testing.assert_allclose(back[: len(joints)], joints[: len(back)], atol=1e-3)
