"""The check of a copy: quiet about a whole one, and every fault in its own words."""

import dataclasses
import re
import shutil

import numpy as np
import pytest

from dataset.prepare import check
from dataset.prepare.layout import features_path, text_path, write_statistics
from dataset.spec import BANDAI, KIT, T2M
from tests.tiny import make_dataset, refusal, run_script
from utils.motion import features_to_joints

NAMES = {"train": 6, "val": 3, "test": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small dataset with the joints of every clip."""
    folder = make_dataset(tmp_path_factory.mktemp("check") / "data", BANDAI)
    (folder / "new_joints").mkdir()
    for path in (folder / "new_joint_vecs").iterdir():
        np.save(folder / "new_joints" / path.name, features_to_joints(np.load(path), BANDAI))
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def names(folder, split="train"):
    return (folder / f"{split}.txt").read_text().split()


def found(folder, spec=BANDAI, clips=3):
    """Lines by their mark."""
    lines = {check.OK: [], check.NOTE: [], check.WRONG: []}
    for mark, line in check.findings(spec, folder, folder / "checkpoints", clips):
        lines[mark].append(line)
    return lines


def wrong(folder, spec=BANDAI):
    """The one thing that is wrong."""
    (line,) = found(folder, spec)[check.WRONG]
    return line


def test_a_whole_copy(folder):
    lines = found(folder)
    assert lines[check.WRONG] == lines[check.NOTE] == []
    said = "\n".join(lines[check.OK])
    for split, count in NAMES.items():
        assert f"{split}.txt has {count} names" in said
    assert "train gives 6 clips" in said and "12 captions" in said
    assert said.count("joints from features") == 3


def test_nothing_is_written(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    found(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_published_counts(folder, monkeypatch):
    lines = "\n".join(found(folder, T2M)[check.WRONG])
    assert "train.txt has 6 names; the number commonly published is 23,384" in lines
    assert "1,460" in lines and "4,384" in lines and "train.txt has no mirrored clip" in lines
    for split in NAMES:
        (folder / f"{split}.txt").write_text("".join(f"{prefix}{split}\n" for prefix in ("", "M")))
    monkeypatch.setitem(check.PUBLISHED_NAMES, "t2m", dict.fromkeys(NAMES, 2))
    said = found(folder, T2M)
    assert sum("2 names, the number commonly published" in line for line in said[check.OK]) == 3
    assert not any("mirrored" in line for line in said[check.WRONG])
    assert check.PUBLISHED_NAMES["kit"] == {"train": 4888, "val": 300, "test": 830}


def test_names_twice_and_in_two_splits(folder):
    first, second, *_ = names(folder)
    with open(folder / "train.txt", "a") as split:
        split.write(f"{first}\n")
    assert f"train.txt has 1 names more than once: {first}" in wrong(folder)
    shutil.copy(features_path(folder, second), features_path(folder, f"M{second}"))
    shutil.copy(text_path(folder, second), text_path(folder, f"M{second}"))
    (folder / "val.txt").write_text(f"{first}\nM{second}\n")
    lines = "\n".join(found(folder)[check.WRONG])
    assert f"train and val share 1 names: {first}" in lines
    assert f"train and val share 1 clips by mirror image: {second}" in lines


def test_a_split_that_is_not_there(folder):
    (folder / "val.txt").unlink()
    assert "no split 'val'" in wrong(folder)
    for split in ("train", "test"):
        (folder / f"{split}.txt").unlink()
    assert len(found(folder)[check.WRONG]) == 3


FAULTS = {
    "no motion": (lambda motion, text: motion.unlink(), r"new_joint_vecs missing: NAME"),
    "no text": (lambda motion, text: text.unlink(), r"texts missing: NAME"),
    "words": (lambda motion, text: motion.write_bytes(b"words"), r"new_joint_vecs broken: NAME: .*no readable npy"),
    "nan": (lambda motion, text: np.save(motion, np.full((60, 263), np.nan)), r"new_joint_vecs broken: NAME: nan"),
    "shape": (lambda motion, text: np.save(motion, np.ones((60, 251))), r"broken: NAME: shape \[60, 251\], not"),
    "text": (lambda motion, text: text.write_text("walks\n"), r"texts broken: NAME: .*caption#tokens"),
}


@pytest.mark.parametrize(("damage", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_files_that_are_missing_or_broken(folder, damage, said):
    name = names(folder, "test")[1]
    damage(features_path(folder, name), text_path(folder, name))
    line = wrong(folder)
    assert line.startswith("1 names: ") and str(folder) not in line
    assert re.search(said.replace("NAME", re.escape(name)), line)


def test_many_faults_are_counted_and_a_few_named(folder):
    for split in NAMES:
        for name in names(folder, split):
            text_path(folder, name).unlink()
    lines = found(folder)[check.WRONG]
    (line,) = (line for line in lines if "missing" in line)
    assert line.startswith("12 names: texts missing: ") and line.endswith("and 2 more")
    assert any("train gives 0 clips" in line for line in lines)


def test_files_of_no_split(folder):
    np.save(features_path(folder, "stray"), np.ones((60, 263), np.float32))
    lines = found(folder)
    assert not lines[check.WRONG] and lines[check.NOTE] == ["1 files of new_joint_vecs are in no split: stray"]


def test_statistics(folder):
    mean, std = np.load(folder / "Mean.npy"), np.load(folder / "Std.npy")
    np.save(folder / "Std.npy", std * 2)
    assert "of other data" in wrong(folder)
    np.save(folder / "Std.npy", std)
    np.save(folder / "Mean.npy", mean + std)
    assert "of other data" in wrong(folder)
    np.save(folder / "Mean.npy", np.where(np.arange(263) == 7, np.nan, mean))
    assert "Mean.npy and Std.npy: nan" in wrong(folder)
    np.save(folder / "Mean.npy", mean)
    np.save(folder / "Std.npy", np.where(np.arange(263) < 2, 0, std))
    assert "2 deviations are not above 0" in wrong(folder)
    (folder / "Std.npy").unlink()
    assert "Std.npy" in wrong(folder)


def test_published_statistics(folder):
    """They are HumanML3D's with the root and the contacts divided by 25."""

    def said():
        return list(check.check_published(T2M, folder, folder / "checkpoints"))

    assert list(check.check_published(BANDAI, folder, folder / "checkpoints")) == []
    ((mark, line),) = said()
    assert mark == check.NOTE and "download_extractor.sh" in line
    meta = folder / "checkpoints/t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta"
    meta.mkdir(parents=True)
    mean, std = np.load(folder / "Mean.npy"), np.load(folder / "Std.npy")
    np.save(meta / "mean.npy", mean)
    np.save(meta / "std.npy", std)
    ((mark, line),) = said()
    assert mark == check.WRONG and "1 to 1 times theirs in the root" in line
    std[:4] /= 25
    std[-4:] /= 25
    np.save(meta / "std.npy", std)
    ((mark, line),) = said()
    assert mark == check.OK and "25 to 25 times theirs in the root" in line
    np.save(meta / "std.npy", std * 0)
    ((mark, line),) = said()
    assert mark == check.WRONG and "263 deviations" in line
    np.save(meta / "std.npy", std[:9])
    ((mark, line),) = said()
    assert mark == check.WRONG and "t2m has 263" in line


def test_joints_that_do_not_belong(folder):
    first = names(folder)[0]
    other = np.load(folder / f"new_joints/{first}.npy")
    other[:, 20] += 0.3  # a wrist elsewhere
    np.save(folder / f"new_joints/{first}.npy", other)
    assert wrong(folder).startswith(f"{first}: joints from features differ by at most 3e+02 mm")
    np.save(folder / f"new_joints/{first}.npy", other[:20])
    assert "do not belong" in wrong(folder)
    (folder / f"new_joints/{first}.npy").write_bytes(b"")
    assert "no readable npy" in wrong(folder)


def test_without_joints(folder):
    shutil.rmtree(folder / "new_joints")
    lines = found(folder)
    assert not lines[check.WRONG] and "not computed again" in lines[check.NOTE][0]


def test_the_published_clip(published_clip):
    fault, line = check.compare_joints(T2M, published_clip["features_official"], published_clip["joints"])
    assert not fault, line
    features = published_clip["features_official"].copy()
    features[:, T2M.rotation_slice] *= -1
    assert check.compare_joints(T2M, features, published_clip["joints"])[0]


def test_kit(tmp_path):
    """Its lengths are millimetres."""
    folder = make_dataset(tmp_path / "kit", KIT)
    (folder / "new_joints").mkdir()
    name = names(folder)[0]
    joints = features_to_joints(np.load(features_path(folder, name)), KIT)
    np.save(folder / f"new_joints/{name}.npy", joints)
    lines = found(folder, KIT)
    assert any(line.startswith(f"{name}: joints from features") for line in lines[check.OK])
    np.save(folder / f"new_joints/{name}.npy", joints + 5)
    assert any("differ by at most 5 mm" in line for line in found(folder, KIT)[check.WRONG])


def test_command_line(folder, capsys):
    flags = ("--dataname", "bandai", "--data-root", folder)
    with pytest.raises(SystemExit) as caught:
        run_script(check, *flags)
    said = capsys.readouterr().out
    assert caught.value.code == 0 and "0 things are wrong" in said and "   ok  train.txt has 6 names" in said
    features_path(folder, names(folder)[0]).unlink()
    write_statistics(folder, names(folder)[1:], BANDAI)
    with pytest.raises(SystemExit) as caught:
        run_script(check, *flags)
    said = capsys.readouterr().out
    assert caught.value.code == 1 and "1 thing is wrong" in said and "new_joint_vecs missing" in said


def test_wrong_flags(capsys, tmp_path):
    assert "no dataset folder" in refusal(capsys, check, "--data-root", tmp_path / "nowhere")
    assert "--dataname" in refusal(capsys, check, "--dataname", "nonsense")


def test_a_clip_longer_than_the_rule_gives_nothing(folder):
    spec = dataclasses.replace(BANDAI, max_frames=60)
    lines = found(folder, spec)
    count = sum(len(np.load(features_path(folder, name))) <= 60 for name in names(folder))
    assert any(f"train gives {count} clips of 40 to 60 frames" in line for line in lines[check.OK])
