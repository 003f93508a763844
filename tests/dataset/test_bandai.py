"""The preparation of Bandai-Namco from end to end, on clips made here."""

import shutil
import sys
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest

from dataset.humanml import read_split
from dataset.normalizer import read_statistics
from dataset.prepare import bandai, layout
from dataset.prepare.captions import mirror_caption, tag
from dataset.prepare.layout import features_path, text_path
from dataset.spec import BANDAI
from utils.bvh import parse_bvh
from utils.motion import features_to_joints, mirror_joints
from utils.skeleton import facing

# Joint, its parent, centimetres from the parent, amplitude of its swing about x in degrees; {} is L and R.
SKELETON = [
    ("joint_Root", None, (0, 0, 0), 0),
    ("Hips", "joint_Root", (0, 95, 0), 0),
    ("Spine", "Hips", (0, 15, -2), 2),
    ("Chest", "Spine", (0, 12, 1), 2),
    ("Neck", "Chest", (0, 20, 1), 0),
    ("Head", "Neck", (0, 10, 3), 5),
    ("Shoulder_{}", "Chest", (5, 12, 0), 0),
    ("UpperArm_{}", "Shoulder_{}", (12, 2, 0), 25),
    ("LowerArm_{}", "UpperArm_{}", (6, -25, 0), 20),
    ("Hand_{}", "LowerArm_{}", (2, -23, 4), 0),
    ("UpperLeg_{}", "Hips", (8, -6, 0), 30),
    ("LowerLeg_{}", "UpperLeg_{}", (1, -40, 0), 20),
    ("Foot_{}", "LowerLeg_{}", (0, -40, -3), 10),
    ("Toes_{}", "Foot_{}", (1, -6, 13), 0),
]


def bvh_text(frames, speed=4.0, phase=0.0, leave_out=()):
    """A walk along +z in Bandai-Namco's skeleton at 30 fps, with OFFSETs that its position channels replace."""
    children = {}
    for name, parent, offset, swing in SKELETON:
        for side, sign, lag in (("L", 1, 0.0), ("R", -1, np.pi)) if "{}" in name else (("", 1, 0.0),):
            entry = (name.format(side), (sign * offset[0], *offset[1:]), swing, lag)
            if entry[0] not in leave_out:
                children.setdefault(parent and parent.format(side), []).append(entry)
    time = np.arange(frames) / 30
    lines, columns = ["HIERARCHY"], []

    def write(name, offset, swing, lag, depth):
        tab = "\t" * depth
        lines.extend([f"{tab}{'JOINT' if depth else 'ROOT'} {name}", tab + "{", f"{tab}\tOFFSET 1 2 3"])
        lines.append(f"{tab}\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation")
        position = np.tile(np.array(offset, float), (frames, 1))
        if name == "Hips":
            position[:, 2] += speed * np.arange(frames)
        angle = swing * np.sin(2 * np.pi * time + lag + phase)
        columns.append(np.column_stack((position, 0 * angle, angle, 0 * angle)))
        for child in children.get(name, []):
            write(*child, depth + 1)
        if name not in children:
            lines.extend([f"{tab}\tEnd Site", tab + "\t{", f"{tab}\t\tOFFSET 0 0 0", tab + "\t}"])
        lines.append(tab + "}")

    write(*children[None][0], 0)
    lines.extend(["MOTION", f"Frames:\t{frames}", "Frame Time:\t0.0333333"])
    lines.extend(" ".join(f"{value:.5f}" for value in row) for row in np.concatenate(columns, axis=1))
    return "\n".join(lines) + "\n"


LONG, BROKEN, STRANGE = "dataset-2_run_happy_001", "dataset-1_bow_sad_002", "dataset-1_kick_normal_003"
WALKS = [f"dataset-1_walk-turn-left_normal_{i:03d}" for i in range(12)]
GOOD = sorted([*WALKS, LONG])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with good clips, a truncated one, one of another skeleton, and files that are no clips."""
    folder = tmp_path_factory.mktemp("source") / "bvh"
    folder.mkdir()
    texts = {name: bvh_text(62 + 3 * i, phase=0.4 * i) for i, name in enumerate(WALKS)}
    texts[LONG] = bvh_text(330, speed=8)
    texts[BROKEN] = texts[WALKS[0]][:9000]
    texts[STRANGE] = bvh_text(70, leave_out=("Toes_R",))
    texts["notes"] = "not a clip"
    for name, text in texts.items():
        (folder / f"{name}.bvh").write_text(text)
    (folder / "README.md").write_text("words")
    return folder


def run(source, out, capsys=None):
    """The command line as a user gives it; what it printed."""
    argv, sys.argv = sys.argv, ["bandai", "--source", str(source), "--out", str(out)]
    try:
        bandai.main()
    finally:
        sys.argv = argv
    return capsys.readouterr() if capsys else None


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "BandaiNamco"
    run(source, out)
    return out


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".packed" not in path.parts
    }


def names_of(folder, split):
    return (folder / f"{split}.txt").read_text().split()


def test_layout_is_complete(prepared):
    clips = {*GOOD, *(f"M{name}" for name in GOOD)}
    expected = {f"new_joint_vecs/{name}.npy" for name in clips} | {f"texts/{name}.txt" for name in clips}
    expected |= {"Mean.npy", "Std.npy", *(f"{split}.txt" for split in ("train", "val", "test", "train_val", "all"))}
    assert contents(prepared).keys() == expected
    assert set(names_of(prepared, "all")) == clips


def test_clips_are_of_the_right_length_and_rate(prepared):
    for i, name in enumerate(WALKS):
        frames = 62 + 3 * i
        assert len(np.load(features_path(prepared, name))) == int((frames - 1) / 30 * 20 + 1e-3)
    joints = features_to_joints(np.load(features_path(prepared, WALKS[0])), BANDAI)
    speed = (joints[-1, 0, 2] - joints[0, 0, 2]) / (len(joints) - 1)
    source_leg, own_leg = np.hypot(40, 1) + np.hypot(40, 3), 100 * (BANDAI.bone_lengths[4] + BANDAI.bone_lengths[7])
    expected = 0.04 * 30 / 20 * own_leg / source_leg  # 4 cm a frame at 30 fps, steps fitted to the legs
    assert speed == pytest.approx(expected, rel=0.01)
    ahead = facing(joints[10], BANDAI)
    assert ahead[2] > 5 * abs(ahead[0])
    assert joints[0, 15, 1] == pytest.approx(1.55, abs=0.15)  # the head of an upright adult, in metres


def test_mirror_images(prepared):
    for name in GOOD:
        plain, mirrored = (np.load(features_path(prepared, clip)) for clip in (name, f"M{name}"))
        assert plain.shape == mirrored.shape and plain.dtype == np.float32
        joints, image = features_to_joints(plain, BANDAI), features_to_joints(mirrored, BANDAI)
        assert np.abs(image - joints).max() > 0.1
        # the uniform skeleton's sides differ by millimetres
        assert np.abs(image - mirror_joints(joints, BANDAI)).max() < 0.05
        lines, swapped = (text_path(prepared, clip).read_text().splitlines() for clip in (name, f"M{name}"))
        assert len(lines) == len(swapped) >= bandai.CAPTIONS_PER_CLIP
        for line, other in zip(lines, swapped):
            (caption, tokens, *times), (mirror, mirror_tokens, *mirror_times) = line.split("#"), other.split("#")
            assert times == mirror_times and mirror == mirror_caption(caption)
            assert tokens == tag(caption) and mirror_tokens == tag(mirror)
    words = Counter(word for name in WALKS for word in text_path(prepared, f"M{name}").read_text().split())
    assert words["right"] > 10 * words["left"]


def test_reader_takes_every_clip(prepared, capfd):
    clips = {clip.name: clip for clip in read_split(BANDAI, prepared, "all")}
    assert "left out" not in capfd.readouterr().err
    short = {name for name in clips if "@" not in name}
    assert short == {*WALKS, *(f"M{name}" for name in WALKS)}
    for clip in clips.values():
        assert clip.captions and all("/" in token for caption in clip.captions for token in caption.tokens)
    stretches = [clip for name, clip in clips.items() if name.startswith(LONG)]
    assert len(stretches) >= 2 and all(150 < len(clip.motion) <= 199 for clip in stretches)


def test_splits(prepared):
    train, val, test = (set(names_of(prepared, split)) for split in ("train", "val", "test"))
    assert not train & val and not train & test and not val & test
    assert val and test and len(train) > len(val | test)
    for split in (train, val, test):
        assert split == {f"M{name}" for name in split if name[0] != "M"} | {name for name in split if name[0] != "M"}
    assert LONG in train, "a content of one clip is for training"
    assert set(names_of(prepared, "train_val")) == train | val
    assert set(names_of(prepared, "all")) == train | val | test


def test_split_shares():
    by_content = {"walk": [f"w{i}" for i in range(200)], "bow": [f"b{i}" for i in range(10)], "bye": ["y0", "y1"]}
    splits = layout.split_clips(by_content)
    assert splits == layout.split_clips({content: names[::-1] for content, names in by_content.items()})
    count = {split: Counter(name.lstrip("M")[0] for name in names) for split, names in splits.items()}
    assert count["test"] == {"w": 40, "b": 2} and count["val"] == {"w": 20, "b": 2}
    assert count["train"] == {"w": 340, "b": 16, "y": 4}


def test_statistics_are_of_the_training_split(prepared):
    mean, std = read_statistics(prepared, BANDAI)
    frames = np.concatenate([np.load(features_path(prepared, name)) for name in names_of(prepared, "train")])
    np.testing.assert_allclose(mean, frames.mean(axis=0, dtype=np.float64), atol=1e-5)
    own = frames.std(axis=0, dtype=np.float64)
    for first, last in ((0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263)):
        np.testing.assert_allclose(std[first:last], own[first:last].mean(), rtol=1e-3, atol=1e-6)


def test_broken_files_are_named_and_counted(source, prepared, tmp_path, capsys):
    """A second run keeps what is there, and says of the broken files what the first one said."""
    out = tmp_path / "again"
    shutil.copytree(prepared, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "new_joint_vecs").iterdir()}
    printed = run(source, out, capsys)
    assert "2 broken files" in printed.out and f"{len(GOOD)} clips" in printed.out
    skipped = [line for line in printed.err.replace("\r", "\n").splitlines() if "skipped" in line]
    assert len(skipped) == 2
    for name, reason in ((BROKEN, ""), (STRANGE, "Toes_R")):
        assert sum(name in line and reason in line for line in skipped) == 1
    assert {path: path.stat().st_mtime_ns for path in (out / "new_joint_vecs").iterdir()} == before
    assert contents(out) == contents(prepared)


def test_an_interrupted_run_goes_on(source, prepared, tmp_path):
    """Stopped before the mirror image of one clip, and before another was begun."""
    out = tmp_path / "half"
    shutil.copytree(prepared / "new_joint_vecs", out / "new_joint_vecs")
    for name in (f"M{WALKS[2]}", WALKS[5], f"M{WALKS[5]}"):
        features_path(out, name).unlink()
    kept = features_path(out, WALKS[7]).stat().st_mtime_ns
    run(source, out)
    assert features_path(out, WALKS[7]).stat().st_mtime_ns == kept
    assert contents(out) == contents(prepared)


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_archives_give_the_same(source, prepared, tmp_path, kind):
    path = tmp_path / f"motion.{kind}"
    files = sorted(source.iterdir(), reverse=True)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"clone/dataset/{file.name}")
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for file in files:
                archive.add(file, f"bvh/{file.name}")
    run(path, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(prepared)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([path.name, "out"]), "nothing is unpacked"


# --- Sources that cannot be used: one line that says so, and status 2


def refused(source, out, capsys):
    with pytest.raises(SystemExit) as caught:
        run(source, out)
    assert caught.value.code == 2
    message = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    assert not (out / "Mean.npy").exists()
    return message[0]


def test_sources_without_clips(tmp_path, capsys):
    assert "nowhere" in refused(tmp_path / "nowhere", tmp_path / "out", capsys)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(tmp_path / "empty", tmp_path / "out", capsys)
    (tmp_path / "page.tar.xz").write_text("<html>not found</html>")
    assert "page.tar.xz" in refused(tmp_path / "page.tar.xz", tmp_path / "out", capsys)


def test_only_broken_clips(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / f"in/{BROKEN}.bvh").write_text("HIERARCHY")
    refused(tmp_path / "in", tmp_path / "out", capsys)


@pytest.mark.parametrize("kind", ["xz", "gz"])
def test_half_downloaded_archive(source, tmp_path, capsys, kind):
    path = tmp_path / f"motion.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as archive:
        for name in WALKS[:2]:
            archive.add(source / f"{name}.bvh")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "motion.tar" in refused(path, tmp_path / "out", capsys)


@pytest.mark.parametrize("name", ["dataset-1_juggle_normal_001", "dataset-1_walk_sleepy_001"])
def test_labels_that_have_no_words(source, tmp_path, name):
    """A content or style that the grammar does not know is left out by name, or refused; never a traceback."""
    (tmp_path / "in").mkdir()
    for clip in WALKS[:2]:
        shutil.copy(source / f"{clip}.bvh", tmp_path / "in")
    shutil.copy(source / f"{WALKS[0]}.bvh", tmp_path / f"in/{name}.bvh")
    try:
        run(tmp_path / "in", tmp_path / "out")
    except SystemExit as error:
        assert error.code == 2
    else:
        assert set(names_of(tmp_path / "out", "all")) == {*WALKS[:2], *(f"M{clip}" for clip in WALKS[:2])}


# --- The steps


def test_body_joints():
    joints = bandai.body_joints(parse_bvh(bvh_text(5, speed=0)))
    assert joints.shape == (5, 22, 3)
    at = dict(zip(BANDAI.joint_names, joints[0]))
    np.testing.assert_allclose(at["pelvis"], (0, 0.95, 0), atol=1e-6)
    np.testing.assert_allclose(at["spine1"], (0, 0.95 + 0.6 * 0.15, -0.6 * 0.02), atol=1e-6)
    np.testing.assert_allclose(at["spine2"] - at["pelvis"], (0, 0.15 + 0.06, -0.02 + 0.005), atol=2e-3)
    np.testing.assert_allclose(at["left_hip"] - at["pelvis"], (0.08, -0.06, 0), atol=1e-6)
    np.testing.assert_allclose(at["right_hip"] - at["pelvis"], (-0.08, -0.06, 0), atol=1e-6)
    with pytest.raises(ValueError, match=r"Hand_L, Toes_R"):
        bandai.body_joints(parse_bvh(bvh_text(5, leave_out=("Toes_R", "Hand_L"))))


def test_resample():
    def wave(fps, seconds):
        time = np.arange(0, seconds + 1e-9, 1 / fps)[:, None, None]
        return np.sin(3 * time + np.arange(66).reshape(1, 22, 3))

    for source_fps in (30, 60, 120, 10):
        np.testing.assert_allclose(bandai.resample(wave(source_fps, 2), source_fps, 20), wave(20, 2), atol=2e-2)
    np.testing.assert_allclose(bandai.resample(wave(20, 2), 20, 20), wave(20, 2), atol=1e-12)
    with pytest.raises(ValueError, match="3 frames"):
        bandai.resample(wave(30, 2)[:3], 30, 20)
