"""BVH files: hand-written ones against scipy's rotations, broken ones, and a real one."""

import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dataset.prepare.bandai import body_joints
from dataset.spec import BANDAI
from utils.bvh import joint_positions, parse_bvh, read_bvh
from utils.skeleton import bone_lengths

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 1.0 2.0 3.0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Arm
  {
    OFFSET 10.0 0.0 0.0
    CHANNELS 3 Yrotation Xrotation Zrotation
    JOINT Hand
    {
      OFFSET 0.0 5.0 0.0
      CHANNELS 3 Xrotation Yrotation Zrotation
      End Site
      {
        OFFSET 0.0 0.0 2.5
      }
    }
  }
  JOINT Leg
  {
    OFFSET 0.0 -20.0 0.0
    CHANNELS 1 Xrotation
    End Site
    {
      OFFSET 0.0 -20.0 1.0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.05
4 5 6 10 20 30 40 50 60 70 80 90 15
-1 0 1 -15 25 35 -45 55 65 75 -85 95 -5
"""


def check_small(bvh):
    """The file above, its positions worked out with scipy."""
    assert bvh.names == ("Hips", "Left Arm", "Hand", "Hand end", "Leg", "Leg end")
    assert bvh.parents == (-1, 0, 1, 2, 0, 4)
    assert bvh.fps == pytest.approx(20)
    assert bvh.motion.shape == (2, 13)
    positions = joint_positions(bvh)
    for row, found in zip(bvh.motion, positions):
        hips = Rotation.from_euler("ZXY", row[3:6], degrees=True)  # capitals: about the turned axes, in this order
        arm = hips * Rotation.from_euler("YXZ", row[6:9], degrees=True)
        hand = arm * Rotation.from_euler("XYZ", row[9:12], degrees=True)
        leg = hips * Rotation.from_euler("X", row[12], degrees=True)
        root = row[:3]
        at_arm, at_leg = root + hips.apply([10, 0, 0]), root + hips.apply([0, -20, 0])
        at_hand = at_arm + arm.apply([0, 5, 0])
        at_ends = at_hand + hand.apply([0, 0, 2.5]), at_leg + leg.apply([0, -20, 1])
        np.testing.assert_allclose(found, (root, at_arm, at_hand, at_ends[0], at_leg, at_ends[1]), atol=1e-9)


def test_channel_orders_end_sites_and_names_with_spaces():
    check_small(parse_bvh(SMALL))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("  ", "\t").replace(": ", ":\t").replace(" ", "\t").replace("Left\tArm", "Left Arm")
        .replace("Frame\tTime", "Frame Time"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n{", " {").replace("\n  {", " {"),
        lambda text: text.replace("0.05\n4 5 6 10 20", "0.05\n\n4 5 6\n10 20") + "\n\n",
        lambda text: text.replace("Frames: 2", "Frames:  2  "),
    ],
    ids=["CRLF", "tabs", "no last newline", "braces on the line", "frames over lines", "spaces"],
)  # fmt: skip
def test_ways_of_writing_the_same_file(change, tmp_path):
    text = change(SMALL)
    assert text != SMALL
    check_small(parse_bvh(text))
    (tmp_path / "a.bvh").write_bytes(text.encode())
    check_small(read_bvh(tmp_path / "a.bvh"))


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_every_channel_order(order):
    channels = " ".join(f"{axis}rotation" for axis in order)
    angles = [33.0, -71.0, 128.0]
    text = f"""HIERARCHY
ROOT a {{ OFFSET 0 0 0 CHANNELS 3 {channels} End Site {{ OFFSET 1 2 3 }} }}
MOTION
Frames: 1
Frame Time: 0.1
{" ".join(map(str, angles))}"""
    expected = Rotation.from_euler(order, angles, degrees=True).apply([1, 2, 3])
    np.testing.assert_allclose(joint_positions(parse_bvh(text))[0, 1], expected, atol=1e-9)


def test_position_channels_replace_offsets_component_by_component():
    text = """HIERARCHY
ROOT a { OFFSET 1 2 3 CHANNELS 1 Yposition
JOINT b { OFFSET 10 20 30 CHANNELS 2 Zposition Xposition End Site { OFFSET 1 1 1 } } }
MOTION
Frames: 2
Frame Time: 0.1
7 8 9
-7 -8 -9"""
    expected = [[(1, 7, 3), (10, 27, 11), (11, 28, 12)], [(1, -7, 3), (-8, 13, -5), (-7, 14, -4)]]
    np.testing.assert_allclose(joint_positions(parse_bvh(text)), expected)
    assert np.diff([pose[1] for pose in expected], axis=0).any()


def test_two_roots():
    text = """HIERARCHY
ROOT a { OFFSET 0 0 0 CHANNELS 3 Xposition Yposition Zposition JOINT b { OFFSET 0 1 0 CHANNELS 0 } }
ROOT c { OFFSET 0 0 0 CHANNELS 3 Xposition Yposition Zposition }
MOTION
Frames: 1
Frame Time: 0.1
1 2 3 4 5 6"""
    bvh = parse_bvh(text)
    assert bvh.parents == (-1, 0, -1)
    np.testing.assert_allclose(joint_positions(bvh)[0], [(1, 2, 3), (1, 3, 3), (4, 5, 6)])


# --- Broken files


def refused(folder, content: bytes):
    """Reading these bytes raises a ValueError of one line that names the file."""
    path = folder / "broken_clip.bvh"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken_clip\.bvh") as caught:
        read_bvh(path)
    return str(caught.value)


def test_truncated_anywhere(tmp_path):
    """Cut after any word: never a shorter motion instead of an error."""
    text = SMALL.rstrip()
    cuts = [i for i in range(len(text)) if text[i].isspace() and not text[i - 1].isspace()]
    assert len(cuts) > 80
    for cut in cuts:
        refused(tmp_path, text[:cut].encode())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Frames: 2", "Frames: 3", "39 numbers, not 26"),
        ("Frames: 2", "Frames: 1", "13 numbers, not 26"),
        ("Frames: 2", "Frames: -2", "number of frames"),
        ("Frames: 2", "Frames: 0", "number of frames"),
        ("Frames: 2", "Frames: 2.5", "number of frames"),
        ("Frames: 2", "Frames: two", "number of frames"),
        ("Frames: 2", "Frames: ²", ""),
        ("Frames: 2", "Frames: " + "9" * 5000, ""),
        ("Frames: 2", "", "Frames"),
        ("Frame Time: 0.05", "", "Frame Time"),
        ("Frame Time: 0.05", "Frame Time: 0", "frame time"),
        ("Frame Time: 0.05", "Frame Time: -0.05", "frame time"),
        ("Frame Time: 0.05", "Frame Time: nan", "frame time"),
        ("Frame Time: 0.05", "Frame Time: inf", "frame time"),
        ("Frame Time: 0.05", "Frame Time: fast", ""),
        ("-1 0 1", "nan 0 1", "nan"),
        ("-1 0 1", "inf 0 1", "infinite"),
        ("-1 0 1", "1e999 0 1", "infinite"),
        ("-1 0 1", "-1 O 1", "no number"),
        ("OFFSET 0.0 5.0 0.0", "OFFSET 0.0 nan 0.0", "nan"),
        ("OFFSET 0.0 5.0 0.0", "OFFSET 0.0 5.0", ""),
        ("OFFSET 0.0 5.0 0.0", "OFFSET a b c", ""),
        ("CHANNELS 1 Xrotation", "CHANNELS 2 Xrotation", ""),
        ("CHANNELS 1 Xrotation", "CHANNELS 1 Wrotation", "unknown channels"),
        ("CHANNELS 1 Xrotation", "CHANNELS -1 Xrotation", ""),
        ("CHANNELS 1 Xrotation", "CHANNELS 99999999999 Xrotation", ""),
        ("CHANNELS 1 Xrotation", "CHANNELS one Xrotation", ""),
        ("ROOT Hips\n{", "ROOT Hips\n", ""),
        ("ROOT Hips", "JOINT Hips", "outside a ROOT"),
        ("}\nMOTION", "MOTION", "not closed"),
        ("}\nMOTION", "}\n}\nMOTION", "unexpected"),
        ("MOTION", "", "MOTION"),
        ("HIERARCHY", "HIERARCHY\nnonsense", "nonsense"),
    ],
)  # fmt: skip
def test_broken(tmp_path, old, new, reason):
    assert SMALL.count(old) >= 1
    assert reason in refused(tmp_path, SMALL.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"HIERARCHY",
        b"MOTION",
        b"HIERARCHY\nMOTION\nFrames: 1\nFrame Time: 0.1\n",
        b"\x00" * 1000,
        b"\x1f\x8b\x08\x00MOTION\xff\xfe\x00Frames:",
        bytes(range(256)) * 50,
        np.random.default_rng(0).bytes(20_000),
        b"ROOT a " * 50_000,
        b"HIERARCHY\nROOT a {" + b"JOINT b { OFFSET 0 0 0 CHANNELS 0 " * 50_000,
    ],
    ids=["empty", "newline", "word", "motion", "no joints", "zeros", "gzip", "bytes", "noise", "roots", "deep"],
)
def test_garbage(tmp_path, content):
    refused(tmp_path, content)


WORDS = SMALL.replace("0.05\n", "0.05 \n ").split(" ")
DAMAGE = ["", "}", "{", "JOINT", "End", "ROOT", "MOTION", "1e400", "-3", "6", "x", "\x00"]


@settings(max_examples=150)
@given(st.data())
def test_any_damage_is_a_value_error_or_a_motion(data):
    """Words of a good file dropped, doubled or replaced: an error that says so, or numbers."""
    words = list(WORDS)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(words) - 1))
        instead = data.draw(st.sampled_from([*DAMAGE, words[place] + " " + words[place]]))
        words[place : place + 1] = instead.split()
    try:
        bvh = parse_bvh(" ".join(words))
    except ValueError:
        return
    assert np.isfinite(joint_positions(bvh)).all()


def test_frames_without_channels_do_not_ask_for_memory():
    """A file of a hundred bytes that claims a million million frames, and holds none."""
    text = "HIERARCHY\nROOT a { OFFSET 0 0 0 }\nMOTION\nFrames: 1000000000000\nFrame Time: 0.1\n"
    with pytest.raises(ValueError):
        joint_positions(parse_bvh(text))


def test_missing_file_is_named(tmp_path):
    with pytest.raises((OSError, ValueError), match="nowhere"):
        read_bvh(tmp_path / "nowhere.bvh")


# --- A real one


def test_real_clip_keeps_its_bones(shared):
    path = shared / "data/bandai-namco-bvh.tar.xz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    with tarfile.open(path, "r|xz") as archive:
        text = next(archive.extractfile(member).read() for member in archive if member.name.endswith(".bvh")).decode()
    bvh = parse_bvh(text)
    assert bvh.fps == pytest.approx(30, abs=0.01)
    joints = body_joints(bvh)
    lengths = bone_lengths(joints, BANDAI)
    rigid = [joint - 1 for joint in range(1, 22) if BANDAI.joint_names[joint] not in ("spine1", "spine2", "spine3")]
    assert lengths[:, rigid].std(axis=0).max() < 1e-3
    legs = lengths[:, [3, 4, 6, 7]]
    assert ((legs > 0.3) & (legs < 0.55)).all()
    height = joints[..., 1].max(axis=1) - joints[..., 1].min(axis=1)
    assert 1.2 < height.max() < 2.0  # the head joint of an adult who stands upright in metres
    names = list(BANDAI.joint_names)
    upper, lower = joints[:, names.index("head"), 1], joints[:, names.index("left_foot"), 1]
    assert (upper > lower + 0.5).all()
