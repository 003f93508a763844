"""One's own BVH files and captions to a folder to train on."""

import numpy as np
import pytest

from dataset.humanml import read_split, split_names
from dataset.prepare import bvh, own
from dataset.prepare.layout import features_path, text_path
from dataset.spec import BANDAI, T2M
from tests.dataset.test_prepare_bvh import mixamo_text
from tests.motions import walking
from tests.tiny import refusal, run_script
from utils.motion import features_to_joints, mirror_joints


def write(folder, name, captions="a man walks to the left\n", frames=60, **how):
    path = folder / f"{name}.bvh"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(mixamo_text(100 * walking(T2M, frames, **how)))
    if captions is not None:
        path.with_suffix(".txt").write_text(captions)
    return path


@pytest.fixture
def clips(tmp_path):
    for i in range(12):
        write(tmp_path / "clips", f"day {i % 2}/walk {i}", speed=1 + i / 20)
    return tmp_path / "clips"


def test_what_is_written_can_be_trained_on(clips, tmp_path):
    run_script(own, clips, "--out", tmp_path / "out")
    splits = {split: split_names(tmp_path / "out", split) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in splits.items()} == {"train": 20, "val": 2, "test": 2}
    for names in splits.values():  # a clip and its mirror image share a split
        plain = {name for name in names if not name.startswith("M")}
        assert {f"M{name}" for name in plain} == set(names) - plain
    read = {clip.name: clip for split in splits for clip in read_split(BANDAI, tmp_path / "out", split)}
    assert len(read) == 24
    wanted, _, _ = bvh.convert(clips / "day 1/walk 3.bvh")
    assert np.array_equal(read["day_1_walk_3"].motion, wanted)
    assert read["day_1_walk_3"].captions[0].text == "a man walks to the left"
    mirrored = read["Mday_1_walk_3"]
    assert mirrored.captions[0].text == "a man walks to the right"
    assert mirrored.captions[0].tokens[:3] == ("a/DET", "man/NOUN", "walk/VERB")
    joints = [np.asarray(features_to_joints(motion, BANDAI)) for motion in (mirrored.motion, wanted)]
    np.testing.assert_allclose(joints[0], mirror_joints(joints[1], BANDAI), atol=0.03)  # sides differ by that


def test_captions_of_stretches_and_of_long_clips(clips, tmp_path):
    write(clips, "parts", "a man walks#0.5#2.75\n\nhe goes on walking # 2 # 5.5\n", frames=120)
    write(clips, "long", "a man walks on and on", frames=400)
    run_script(own, clips, "--out", tmp_path)
    assert text_path(tmp_path, "parts").read_text().splitlines() == [
        "a man walks#a/DET man/NOUN walk/VERB#0.5#2.8", "he goes on walking#he/PRON go/VERB on/ADP walk/VERB#2.0#5.5",
    ]  # fmt: skip
    times = [tuple(map(float, line.split("#")[2:])) for line in text_path(tmp_path, "long").read_text().splitlines()]
    assert times[0][0] == 0 and times[-1][1] >= 19.5
    assert all(end - start < BANDAI.max_frames / BANDAI.fps for start, end in times)


def test_what_cannot_be_used_is_named_and_the_rest_is(clips, tmp_path, capsys):
    write(clips, "silent", captions=None)
    write(clips, "empty", captions="\n")
    write(clips, "short", frames=30)
    write(clips, "odd", captions="walks#2\n")
    write(clips, "late", captions="walks#2#60\n")
    write(clips, "binary").with_suffix(".txt").write_bytes(b"a \xff walk")
    (clips / "broken.bvh").write_text("HIERARCHY")
    (clips / "broken.txt").write_text("walks")
    run_script(own, clips, "--out", tmp_path)
    printed = capsys.readouterr()
    for name in ("silent", "empty", "short", "odd", "late", "binary", "broken"):
        assert sum(line.startswith("skipped") and name in line for line in printed.err.splitlines()) == 1
        assert not features_path(tmp_path, name).exists() and not text_path(tmp_path, name).exists()
    assert "12 clips" in printed.out and "7 skipped" in printed.out


def test_what_ends_it(clips, tmp_path, capsys):
    assert "there is no folder" in refusal(capsys, own, tmp_path / "nowhere")
    write(clips, "day 0/Mwalk 0")
    write(clips, "Mday_0_walk_2")
    assert "rename one" in refusal(capsys, own, clips, "--out", tmp_path)
    few = tmp_path / "few"
    write(few, "walk")
    assert "10 are needed" in refusal(capsys, own, few, "--out", tmp_path)
    assert "--scale" in refusal(capsys, own, few, "--scale", "0")
