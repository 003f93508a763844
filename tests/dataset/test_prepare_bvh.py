"""Anybody's BVH to features: files written here of known motions, in the joint names of several programs."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from dataset.prepare import bandai, bvh
from dataset.spec import T2M
from tests.dataset.test_bandai import bvh_text as bandai_text
from tests.motions import walking
from utils.bvh import parse_bvh
from utils.motion import features_to_joints, joints_to_features
from utils.skeleton import facing

MIXAMO = json.loads((bvh.MAPS_FOLDER / "mixamo.json").read_text())
# CMU's joints as far as they matter, each with its parent; those not in CMU_AT lie where their parent does.
CMU = {"Hips": None, "LowerBack": "Hips", "Spine": "LowerBack", "Spine1": "Spine", "Neck": "Spine1", "Neck1": "Neck"}
CMU["Head"] = "Neck1"
for _side in ("Left", "Right"):
    CMU |= {f"{_side[0]}HipJoint": "Hips", f"{_side}UpLeg": f"{_side[0]}HipJoint", f"{_side}Leg": f"{_side}UpLeg"}
    CMU |= {f"{_side}Foot": f"{_side}Leg", f"{_side}ToeBase": f"{_side}Foot", f"{_side}Shoulder": "Spine1"}
    CMU |= {f"{_side}Arm": f"{_side}Shoulder", f"{_side}ForeArm": f"{_side}Arm", f"{_side}Hand": f"{_side}ForeArm"}
CMU_AT = {"Hips": "pelvis", "Spine": "spine2", "Spine1": "spine3", "Neck1": "neck", "Head": "head"}
CMU_LIMBS = {"UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "ToeBase": "foot", "Arm": "shoulder", "ForeArm": "elbow"}
for _side in ("Left", "Right"):
    CMU_AT |= {_side + part: f"{_side.lower()}_{joint}" for part, joint in (CMU_LIMBS | {"Hand": "wrist"}).items()}


def bvh_text(tracks, parents, fps, prefix=""):
    """A BVH in which joints [F, 3] move by position channels alone: a motion told exactly, whatever bends it."""
    lines, columns = ["HIERARCHY"], []

    def write(name, depth):
        parent = parents[name]
        lines.append(f"{'JOINT' if depth else 'ROOT'} {prefix}{name}")
        lines.extend(["{", "OFFSET 0 0 0", "CHANNELS 3 Zposition Xposition Yposition"])
        step = tracks[name] - (tracks[parent] if parent else 0)
        columns.append(step[:, [2, 0, 1]])
        for child in (child for child in parents if parents[child] == name):
            write(child, depth + 1)
        lines.append("}")

    write(next(name for name in parents if parents[name] is None), 0)
    frames = np.concatenate(columns, axis=1)
    lines.extend(["MOTION", f"Frames: {len(frames)}", f"Frame Time: {1 / fps:.9f}"])
    lines.extend(" ".join(f"{value:.7f}" for value in row) for row in frames)
    return "\n".join(lines) + "\n"


def mixamo_text(joints, fps=20.0, prefix="mixamorig:", names=MIXAMO):
    """Joints [F, 22, 3] in a skeleton that has them all, one by one."""
    tracks = {names[name]: joints[:, j] for j, name in enumerate(T2M.joint_names)}
    above = (None, *(names[T2M.joint_names[parent]] for parent in T2M.parents[1:]))
    parents = {names[name]: parent for name, parent in zip(T2M.joint_names, above)}
    return bvh_text(tracks, parents, fps, prefix)


def cmu_text(joints, fps=20.0):
    tracks = {}
    for name, parent in CMU.items():
        tracks[name] = joints[:, T2M.joint_names.index(CMU_AT[name])] if name in CMU_AT else tracks[parent]
    return bvh_text(tracks, CMU, fps)


def convert(tmp_path, text, *args, **kwargs):
    path = tmp_path / "motion.bvh"
    path.write_text(text)
    return bvh.convert(path, *args, **kwargs)


def run(*words):
    argv, sys.argv = sys.argv, ["bvh", *map(str, words)]
    try:
        bvh.main()
    finally:
        sys.argv = argv


def refused(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
    errors = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.fixture(scope="module")
def motion():
    return walking(T2M, 60)


@pytest.mark.parametrize("prefix", ["mixamorig:", "", "mixamorig7:", "mixamorig1_", "Armature:mixamorig_"])
def test_features_are_those_of_the_joints(tmp_path, motion, prefix):
    features, joints, taken_for = convert(tmp_path, mixamo_text(100 * motion, prefix=prefix))
    assert "mixamo" in taken_for and "centimetres" in taken_for
    np.testing.assert_allclose(joints, motion, atol=1e-6)
    np.testing.assert_allclose(features, joints_to_features(motion, T2M), atol=1e-4)
    assert features.shape == (59, 263) and features.dtype == np.float32


@pytest.mark.parametrize("fps", [60, 120])
def test_a_faster_file_gives_20_fps(tmp_path, fps):
    fast = walking(replace(T2M, fps=fps), 59 * fps // 20 + 1)
    features, joints, _ = convert(tmp_path, mixamo_text(fast, fps))
    assert len(joints) >= 59  # a frame time rounded down may leave the last frame out
    np.testing.assert_allclose(joints, fast[:: fps // 20][: len(joints)], atol=1e-5)
    np.testing.assert_allclose(features, joints_to_features(joints, T2M), atol=1e-6)


@pytest.mark.parametrize("unit", bvh.METRES)
def test_units(tmp_path, motion, unit):
    """Guessed for bodies of any grown person's height; said, it is taken; and it does not touch the features."""
    for size in (0.9, 1.15):
        features, joints, taken_for = convert(tmp_path, mixamo_text(size * motion / bvh.METRES[unit]))
        assert unit in taken_for
        np.testing.assert_allclose(joints, size * motion, atol=1e-5)
        np.testing.assert_allclose(features, joints_to_features(motion, T2M), atol=1e-3)
    _, joints, _ = convert(tmp_path, mixamo_text(motion / bvh.METRES[unit]), scale=0.5)
    np.testing.assert_allclose(joints, 0.5 * motion / bvh.METRES[unit], rtol=1e-4, atol=1e-4)


def test_z_up(tmp_path, motion):
    z_up = motion[..., [0, 2, 1]] * [1, -1, 1]
    assert np.allclose(np.cross(z_up[0, 1], z_up[0, 5]), np.cross(motion[0, 1], motion[0, 5])[[0, 2, 1]] * [1, -1, 1])
    features, joints, _ = convert(tmp_path, mixamo_text(z_up), up="z")
    np.testing.assert_allclose(joints, motion, atol=1e-6)
    np.testing.assert_allclose(features, joints_to_features(motion, T2M), atol=1e-4)


def test_cmu(tmp_path, motion):
    """CMU's shoulders start in the spine; the joints that it has keep their places and all others lie between."""
    features, joints, taken_for = convert(tmp_path, cmu_text(motion / bvh.METRES["CMU's unit of 1/0.45 inch"]))
    assert "cmu" in taken_for and "CMU's unit" in taken_for
    for name in CMU_AT.values():
        j = T2M.joint_names.index(name)
        if name != "spine2":
            np.testing.assert_allclose(joints[:, j], motion[:, j], atol=1e-5)
    at = dict(zip(T2M.joint_names, joints[0]))
    heights = [at[name][1] for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")]
    assert heights == sorted(heights)
    assert at["right_collar"][0] < at["neck"][0] < at["left_collar"][0] < at["left_shoulder"][0]
    own, expected = features_to_joints(features, T2M), features_to_joints(joints_to_features(motion, T2M), T2M)
    assert np.linalg.norm(own - expected, axis=-1).max() < 0.12


def test_bandai_as_its_own_script(tmp_path):
    text = bandai_text(70)
    features, joints, taken_for = convert(tmp_path, text)
    assert "bandai" in taken_for and "centimetres" in taken_for
    parsed = parse_bvh(text)
    expected = bandai.resample(bandai.body_joints(parsed), parsed.fps, 20.0)
    np.testing.assert_allclose(joints, expected, atol=1e-9)
    np.testing.assert_allclose(features, joints_to_features(expected, T2M), atol=1e-6)


def test_left_stays_left(tmp_path, motion):
    """The left foot steps out to the side: on +x of a body that faces +z."""
    motion = motion.copy()
    motion[:, [4, 7, 10], 0] += 0.5
    features, _, _ = convert(tmp_path, mixamo_text(motion))
    own = features_to_joints(features, T2M)
    left, right = own[0, 7] - own[0, 0], own[0, 8] - own[0, 0]
    ahead = facing(own[0], T2M)
    beside = np.cross([0, 1, 0], ahead / np.linalg.norm(ahead))
    assert left @ beside > 0.3 and right @ beside < 0


# --- Joint maps


OWN_NAMES = {name: f"bone {name.upper()}" for name in T2M.joint_names}


def test_a_joint_map(tmp_path, motion, capsys):
    (tmp_path / "map.json").write_text(json.dumps(OWN_NAMES))
    (tmp_path / "strange.bvh").write_text(mixamo_text(motion, prefix="", names=OWN_NAMES))
    run(tmp_path / "strange.bvh", "--joint-map", tmp_path / "map.json", "--out", tmp_path / "out", "--joints")
    assert capsys.readouterr().out.split() == [str(tmp_path / "out/strange.npy")]
    np.testing.assert_allclose(np.load(tmp_path / "out/strange_joints.npy"), motion, atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "out/strange.npy"), joints_to_features(motion, T2M), atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["strange.npy", "strange_joints.npy"]


def test_points_between(motion):
    joint_map = OWN_NAMES | {"spine1": [OWN_NAMES["pelvis"], OWN_NAMES["spine2"], 0.25], "head": "bone HEAD end"}
    text = mixamo_text(motion, prefix="", names=OWN_NAMES)
    text = text.replace("JOINT bone HEAD\n{\nOFFSET 0 0 0\n", "JOINT bone HEAD\n{\nEnd Site\n{\nOFFSET 0 0.1 0\n}\n")
    joints = bvh.body_joints(parse_bvh(text), joint_map)
    np.testing.assert_allclose(joints[:, 3], 0.75 * motion[:, 0] + 0.25 * motion[:, 6], atol=1e-6)
    np.testing.assert_allclose(joints[:, 15], motion[:, 15] + [0, 0.1, 0], atol=1e-6)


def test_known_maps_are_whole():
    maps = bvh.known_maps()
    assert maps.keys() == {"bandai", "mixamo", "cmu"}
    for joint_map in maps.values():
        assert joint_map.keys() == set(T2M.joint_names)
        swapped = json.loads(
            json.dumps(joint_map).replace("Left", "*").replace("Right", "Left").replace("*", "Right")
            .replace("_L\"", "*").replace("_R\"", "_L\"").replace("*", "_R\"")
        )  # fmt: skip
        for name, other in zip(T2M.joint_names, T2M.mirror):
            assert swapped[name] == joint_map[T2M.joint_names[other]], "the sides are alike"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "joint map"),
        (json.dumps({"pelvis": "Hips"}), "left_hip"),
        (json.dumps(OWN_NAMES | {"tail": "Tail"}), "tail"),
        (json.dumps(OWN_NAMES | {"neck": ["A", "B"]}), "neck"),
        (json.dumps(OWN_NAMES | {"neck": ["A", "B", "half"]}), "neck"),
        (json.dumps(OWN_NAMES | {"neck": 3}), "neck"),
        (json.dumps(OWN_NAMES | {"neck": "Giraffe"}), "Giraffe"),
        (json.dumps(OWN_NAMES | {"neck": OWN_NAMES["spine3"]}), "neck lies where spine3 does"),
    ],
)
def test_maps_that_do_not_work(tmp_path, motion, capsys, content, told):
    (tmp_path / "map.json").write_text(content)
    (tmp_path / "a.bvh").write_text(mixamo_text(motion[:10], prefix="", names=OWN_NAMES))
    assert told in refused(capsys, tmp_path / "a.bvh", "--joint-map", tmp_path / "map.json", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- Files that cannot be used


def test_an_unknown_skeleton(tmp_path, motion, capsys):
    names = MIXAMO | {"left_foot": "LeftToes", "right_foot": "RightToes"}
    (tmp_path / "a.bvh").write_text(mixamo_text(motion[:10], names=names))
    message = refused(capsys, tmp_path / "a.bvh", "--out", tmp_path / "out")
    assert "a.bvh" in message and "LeftToeBase, RightToeBase" in message and "--joint-map" in message


def test_the_others_are_converted(tmp_path, motion, capsys):
    (tmp_path / "good.bvh").write_text(mixamo_text(motion))
    (tmp_path / "text.bvh").write_text("hello")
    (tmp_path / "short.bvh").write_text(mixamo_text(motion[:3]))
    files = [tmp_path / f"{name}.bvh" for name in ("text", "nowhere", "good", "short")]
    with pytest.raises(SystemExit) as caught:
        run(*files, "--out", tmp_path / "out")
    printed = capsys.readouterr()
    assert caught.value.code == 2 and printed.out.split() == [str(tmp_path / "out/good.npy")]
    for name in ("text", "nowhere", "short"):
        assert sum(f"{name}.bvh" in line for line in printed.err.splitlines() if line.startswith("skipped")) == 1
    assert "error: 3 of 4 files" in printed.err


def test_two_of_one_name(tmp_path, capsys):
    message = refused(capsys, tmp_path / "a/walk.bvh", tmp_path / "b/walk.bvh", "--out", tmp_path / "out")
    assert "a/walk.bvh" in message and "b/walk.bvh" in message


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_scales_that_are_none(tmp_path, capsys, scale):
    assert "--scale" in refused(capsys, tmp_path / "a.bvh", f"--scale={scale}")
