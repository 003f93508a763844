"""Motions from files: features, joints and BVH, and files that are none."""

import numpy as np
import pytest

from dataset.motion_file import motion_paths, read_motion
from dataset.spec import BANDAI, KIT, T2M
from tests.dataset.test_prepare_bvh import mixamo_text
from tests.motions import walking
from utils.motion import features_to_joints, joints_to_features

NOTHING = np.zeros(40, dtype=bool)


def test_features_are_taken_as_they_are(tmp_path):
    features = joints_to_features(walking(BANDAI, 41), BANDAI)
    np.save(tmp_path / "a.npy", features)
    motion = read_motion(tmp_path / "a.npy", BANDAI)
    assert motion.frames == 40 and np.array_equal(motion.features_without(NOTHING), features)


@pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)
def test_joints_in_metres(tmp_path, spec):
    joints = walking(spec, 40)
    np.save(tmp_path / "a.npy", joints * spec.metres_per_unit)
    motion = read_motion(tmp_path / "a.npy", spec)
    features = motion.features_without(NOTHING)
    assert motion.frames == 40 and features.shape == (40, spec.dim)
    back = features_to_joints(features, spec)
    wanted = features_to_joints(joints_to_features(joints, spec), spec)
    np.testing.assert_allclose(back[:30], wanted[:30], atol=0.02 / spec.metres_per_unit)


def test_a_bvh_is_as_good_as_its_joints(tmp_path):
    joints = walking(T2M, 40)
    (tmp_path / "walk.BVH").write_text(mixamo_text(joints * 100))
    np.save(tmp_path / "walk.npy", joints)
    bvh, array = (read_motion(tmp_path / name, T2M) for name in ("walk.BVH", "walk.npy"))
    hidden = np.arange(40) // 10 == 2
    np.testing.assert_allclose(bvh.features_without(hidden), array.features_without(hidden), atol=1e-3)
    with pytest.raises(ValueError, match=r"walk.BVH.*weights are for kit's"):
        read_motion(tmp_path / "walk.BVH", KIT)


def test_folders(tmp_path):
    for name in ("b.npy", "a.bvh", "c.NPY", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in motion_paths(tmp_path)] == ["a.bvh", "b.npy", "c.NPY"]
    assert motion_paths(tmp_path / "b.npy") == [tmp_path / "b.npy"]
    for path, message in (("notes.txt", "is no motion"), ("nowhere.npy", "there is no motion")):
        with pytest.raises(ValueError, match=message):
            motion_paths(tmp_path / path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no .npy or .bvh file in .*empty"):
        motion_paths(tmp_path / "empty")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((40, 251)), r"\[40, 251\].*\[T, 263\] or joints \[T, 22, 3\]"),
        (np.zeros((40, 21, 3)), r"\[40, 21, 3\]"),
        (np.zeros(263), r"\[263\]"),
        (np.full((40, 263), np.inf), "nan or infinite"),
        (np.full((40, 22, 3), np.nan), "nan or infinite"),
        (np.array(["words"]), "no readable npy"),
    ],
)
def test_arrays_that_are_no_motion(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=f"a.npy.*{message}"):
        read_motion(tmp_path / "a.npy", T2M)


def test_joints_in_one_point(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((40, 22, 3)))
    with pytest.raises(ValueError, match=r"a.npy: .*legs have no length"):
        read_motion(tmp_path / "a.npy", T2M).features_without(NOTHING)
