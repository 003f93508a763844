"""The reader of splits, captions and motions."""

import numpy as np
import pytest

from dataset.humanml import Caption, dataset_folder, read_split, split_names
from dataset.spec import KIT, T2M


@pytest.fixture
def dataset(tmp_path):
    """Adds clips to a folder: add(name, motion, *lines) puts the name into the split train too."""
    (tmp_path / "new_joint_vecs").mkdir()
    (tmp_path / "texts").mkdir()

    def add(name, motion, *lines):
        if motion is not None:
            np.save(tmp_path / f"new_joint_vecs/{name}.npy", motion)
        if lines:
            (tmp_path / f"texts/{name}.txt").write_text("\n".join(lines) + "\n")
        with open(tmp_path / "train.txt", "a") as split:
            split.write(f"{name}\n")

    add.folder = tmp_path
    return add


def frames(count, spec=T2M):
    """Features whose first column counts the frames."""
    motion = np.zeros((count, spec.dim), np.float32)
    motion[:, 0] = np.arange(count)
    return motion


WHOLE = "a man walks#a/DET man/NOUN walk/VERB#0.0#0.0"


def test_captions_and_tokens(dataset):
    dataset("b", frames(60), WHOLE, "", "he strolls#he/PRON stroll/VERB#0.0#0.0")
    dataset("a", frames(50), WHOLE)
    clips = read_split(T2M, dataset.folder, "train")
    assert [clip.name for clip in clips] == ["b", "a"]
    assert clips[0].captions == (
        Caption("a man walks", ("a/DET", "man/NOUN", "walk/VERB")),
        Caption("he strolls", ("he/PRON", "stroll/VERB")),
    )
    np.testing.assert_array_equal(clips[0].motion, frames(60))
    assert clips[0].motion.dtype == np.float32


@pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)
def test_captions_with_times_are_clips_of_their_own(dataset, spec):
    dataset("a", frames(190, spec), "all#all/DET#0.0#0.0", "part#part/NOUN#1.5#5.1", "same#same/ADJ#1.5#5.1",
            "late#late/ADV#4.0#99.0")  # fmt: skip
    clips = {clip.captions[0].text: clip for clip in read_split(spec, dataset.folder, "train")}
    assert clips.keys() == {"all", "part", "late"}
    assert [caption.text for caption in clips["part"].captions] == ["part", "same"]
    start, end = int(1.5 * spec.fps), int(5.1 * spec.fps)
    np.testing.assert_array_equal(clips["part"].motion[:, 0], np.arange(start, end))
    np.testing.assert_array_equal(clips["late"].motion[:, 0], np.arange(int(4 * spec.fps), 190))
    assert clips["all"].name == "a" and len(clips["all"].motion) == 190
    assert len({clip.name for clip in clips.values()}) == 3


def test_nan_counts_as_nought(dataset):
    dataset("a", frames(100), "whole#whole/ADJ#nan#nan", "start#start/NOUN#nan#2.5", "all#all/DET#0.0#0.0")
    clips = read_split(T2M, dataset.folder, "train")
    assert [[caption.text for caption in clip.captions] for clip in clips] == [["whole", "all"], ["start"]]
    assert [len(clip.motion) for clip in clips] == [100, 50]


def test_only_usable_lengths(dataset):
    for count in (10, 39, 40, 199, 200, 400):
        dataset(f"c{count}", frames(count), WHOLE)
    dataset("sub", frames(400), "a#a/DET#1.0#2.9", "b#b/NOUN#1.0#3.0", "c#c/NOUN#5.0#15.0", "d#d/NOUN#5.0#14.9")
    clips = read_split(T2M, dataset.folder, "train")
    assert [len(clip.motion) for clip in clips] == [40, 199, 40, 198]


def test_kit_takes_shorter_ones(dataset):
    for count in (23, 24):
        dataset(f"c{count}", frames(count, KIT), WHOLE)
    assert [clip.name for clip in read_split(KIT, dataset.folder, "train")] == ["c24"]


BROKEN_MOTIONS = {
    "empty": b"",
    "words": b"version https://git-lfs.github.com/spec/v1\n",
    "zeros": bytes(5000),
    "magic": b"\x93NUMPY",
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("content", BROKEN_MOTIONS.values(), ids=BROKEN_MOTIONS.keys())
def test_broken_files_are_left_out(dataset, capfd, content):
    dataset("good", frames(60), WHOLE)
    dataset("bad", None, WHOLE)
    (dataset.folder / "new_joint_vecs/bad.npy").write_bytes(content)
    check_left_out(dataset, capfd)


BROKEN_ARRAYS = {
    "width": frames(60)[:, :251],
    "flat": frames(60).ravel(),
    "nan": np.where(frames(60) == 30, np.nan, frames(60)),
    "inf": np.where(frames(60) == 30, np.inf, frames(60)),
    "strings": np.full((60, T2M.dim), "word"),
    "objects": np.full((60, T2M.dim), None),
    "no frames": frames(0)[:, :5],
}


@pytest.mark.parametrize("array", BROKEN_ARRAYS.values(), ids=BROKEN_ARRAYS.keys())
def test_arrays_of_something_else_are_left_out(dataset, capfd, array):
    dataset("good", frames(60), WHOLE)
    dataset("bad", array, WHOLE)
    check_left_out(dataset, capfd)


def test_truncated_and_missing_files_are_left_out(dataset, capfd):
    dataset("good", frames(60), WHOLE)
    dataset("bad", frames(60), WHOLE)
    path = dataset.folder / "new_joint_vecs/bad.npy"
    whole = path.read_bytes()
    for size in (5, 60, 128, 5000, len(whole) - 1):
        path.write_bytes(whole[:size])
        check_left_out(dataset, capfd)
    path.unlink()
    check_left_out(dataset, capfd)
    path.write_bytes(whole)
    assert len(read_split(T2M, dataset.folder, "train")) == 2
    (dataset.folder / "texts/bad.txt").unlink()
    check_left_out(dataset, capfd)


@pytest.mark.parametrize(
    "line",
    ["walks", "walks#walk/VERB#0.0", "walks#walk/VERB#0.0#soon", "walks#walk/VERB#0.0#inf", "a#b#c#0.0#0.0", " "],
)
def test_lines_of_something_else_are_left_out(dataset, capfd, line):
    dataset("good", frames(60), WHOLE)
    dataset("bad", frames(60), line)
    check_left_out(dataset, capfd)


def test_text_of_another_encoding_is_left_out(dataset, capfd):
    dataset("good", frames(60), WHOLE)
    dataset("bad", frames(60), WHOLE)
    (dataset.folder / "texts/bad.txt").write_bytes("à pied".encode("latin-1") + WHOLE.encode())
    check_left_out(dataset, capfd)


def check_left_out(dataset, capfd):
    """Only the good clip is read; the bad one is named once, and counted."""
    capfd.readouterr()
    assert [clip.name for clip in read_split(T2M, dataset.folder, "train")] == ["good"]
    lines = [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if "left out" in line]
    assert len(lines) == 2 and "bad" in lines[0] and "1 " in lines[1]


def test_nothing_usable(dataset):
    dataset("bad", frames(10), WHOLE)
    with pytest.raises(ValueError, match="no usable clip"):
        read_split(T2M, dataset.folder, "train")


def test_unknown_split_names_those_there_are(dataset):
    dataset("a", frames(60), WHOLE)
    (dataset.folder / "val.txt").write_text("")
    with pytest.raises(ValueError, match=r"'tset'.*train, val"):
        split_names(dataset.folder, "tset")
    with pytest.raises(ValueError, match="no usable clip"):
        read_split(T2M, dataset.folder, "val")


def test_dataset_folder(tmp_path):
    assert dataset_folder(T2M, str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match=r"nowhere.*--data-root"):
        dataset_folder(KIT, str(tmp_path / "nowhere"))


def test_a_stretch_that_begins_before_the_clip(dataset):
    dataset("a", frames(100), "early#early/ADV#-1.0#3.0", "nothing#nothing/NOUN#3.0#-1.0", "after#after/ADP#9.0#12.0")
    clips = read_split(T2M, dataset.folder, "train")
    assert [clip.name for clip in clips] == ["a@0-60"]
    np.testing.assert_array_equal(clips[0].motion[:, 0], np.arange(60))


def test_names_with_odd_texts(dataset):
    """Any text that a line can hold comes back as it was, from the pack as well."""
    texts = ['"quoted" \\ back', "tab\tinside", "日本語 é", "'", "{}[],:"]
    dataset("a", frames(60), *(f"{text}#{text}/X#0.0#0.0" for text in texts))
    for _ in range(2):
        captions = read_split(T2M, dataset.folder, "train")[0].captions
        assert captions == tuple(Caption(text, tuple(f"{text}/X".split())) for text in texts)
