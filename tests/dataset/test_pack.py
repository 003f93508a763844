"""The packed array: it is what reading gives, it follows the folder, and nothing that happens to it does harm."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest

from dataset import humanml
from dataset.humanml import read_split
from dataset.pack import ABANDONED, PACKED, fingerprint, open_pack, write_pack
from dataset.spec import T2M
from tests.conftest import ROOT

WHOLE = "a man walks#a/DET man/NOUN walk/VERB#0.0#0.0"
RNG = np.random.default_rng(0)


def add(folder, name, frames=60, lines=(WHOLE,)):
    for kind in ("new_joint_vecs", "texts"):
        (folder / kind).mkdir(exist_ok=True)
    np.save(folder / f"new_joint_vecs/{name}.npy", RNG.standard_normal((frames, T2M.dim), dtype=np.float32))
    (folder / f"texts/{name}.txt").write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path):
    """Two usable clips, one with a stretch of its own, one too short, one broken and one missing."""
    folder = tmp_path / "data"
    folder.mkdir()
    add(folder, "a", 150, (WHOLE, "he à pied#he/PRON à/X#1.0#4.0"))
    add(folder, "short", 20)
    add(folder, "b")
    add(folder, "broken")
    (folder / "new_joint_vecs/broken.npy").write_bytes(b"words")
    (folder / "train.txt").write_text("a\nshort\nmissing\nb\nbroken\n")
    return folder


def packs(folder):
    return sorted(path.name for path in (folder / PACKED).iterdir())


def described(clips):
    return [(clip.name, clip.motion.tobytes(), clip.captions) for clip in clips]


@pytest.fixture
def count_packing(monkeypatch):
    """Counts how often clips are read one by one."""
    times = []
    write_motions = humanml._write_motions
    monkeypatch.setattr(humanml, "_write_motions", lambda *rest: times.append(1) or write_motions(*rest))
    return times


def test_a_second_start_reads_no_clip(folder, count_packing, monkeypatch, capfd):
    cold = described(read_split(T2M, folder, "train"))
    said = capfd.readouterr().err
    assert len(count_packing) == 1 and len(packs(folder)) == 2
    monkeypatch.setattr(np, "load", None)
    assert described(read_split(T2M, folder, "train")) == cold
    assert capfd.readouterr().err == said  # what is missing is said at every start
    assert len(count_packing) == 1


def test_clips_are_what_the_files_hold(folder):
    clips = {clip.name: clip for clip in read_split(T2M, folder, "train")}
    assert list(clips) == ["a", "a@20-80", "b"]
    motion = np.load(folder / "new_joint_vecs/a.npy")
    np.testing.assert_array_equal(clips["a"].motion, motion)
    np.testing.assert_array_equal(clips["a@20-80"].motion, motion[20:80])
    assert clips["a@20-80"].captions[0].text == "he à pied"
    assert clips["a@20-80"].captions[0].tokens == ("he/PRON", "à/X")
    base = clips["a"].motion.base
    assert all(clip.motion.base is base for clip in clips.values())


def test_problems_are_named_once_and_counted(folder, capfd):
    for _ in range(2):
        read_split(T2M, folder, "train")
        lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
        left_out = [line for line in lines if "left out" in line]
        assert len(left_out) == 3 and "2 clips of train left out" in left_out[2]
        assert sum("missing" in line for line in left_out) == sum("broken" in line for line in left_out) == 1


CHANGES = {
    "a motion": lambda folder: add(folder, "b", 61),
    "a motion of the same size": lambda folder: add(folder, "b"),
    "a text": lambda folder: (folder / "texts/b.txt").write_text(WHOLE.replace("man", "boy")),
    "a file that was missing": lambda folder: add(folder, "missing"),
    "a file less": lambda folder: (folder / "texts/a.txt").unlink(),
    "the split": lambda folder: (folder / "train.txt").write_text("b\na\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_folder_is_packed_again(folder, count_packing, change):
    before = described(read_split(T2M, folder, "train"))
    old = packs(folder)
    change(folder)
    after = described(read_split(T2M, folder, "train"))
    assert after != before and len(count_packing) == 2
    assert len(packs(folder)) == 2 and not set(packs(folder)) & set(old)


def test_what_is_not_in_the_split_does_not_matter(folder, count_packing):
    read_split(T2M, folder, "train")
    add(folder, "other")
    read_split(T2M, folder, "train")
    assert len(count_packing) == 1


def test_a_clip_of_an_old_pack_stays_as_it_is(folder):
    old = read_split(T2M, folder, "train")
    before = described(old)
    add(folder, "b", 99)
    read_split(T2M, folder, "train")
    assert described(old) == before


def test_splits_do_not_disturb_each_other(folder, count_packing):
    for split in ("train_val", "train.small"):
        shutil.copy(folder / "train.txt", folder / f"{split}.txt")
    for split in ("train", "train_val", "train.small", "train", "train_val", "train.small"):
        read_split(T2M, folder, split)
    assert len(count_packing) == 3 and len(packs(folder)) == 6


def test_a_pack_moves_with_its_folder(folder, tmp_path, count_packing, capfd):
    cold = described(read_split(T2M, folder, "train"))
    folder.rename(tmp_path / "elsewhere")
    assert described(read_split(T2M, tmp_path / "elsewhere", "train")) == cold
    assert len(count_packing) == 1
    assert str(folder) not in capfd.readouterr().err


def checked(content):
    """An index with the checksum that belongs to it."""
    return f"{zlib.crc32(content.encode()):08x}\n{content}"


DAMAGES = {
    "no array": lambda data, index: data.unlink(),
    "a short array": lambda data, index: data.write_bytes(data.read_bytes()[:-4]),
    "a long array": lambda data, index: data.write_bytes(data.read_bytes() + bytes(4)),
    "an empty array": lambda data, index: data.write_bytes(b""),
    "no index": lambda data, index: index.unlink(),
    "half an index": lambda data, index: index.write_bytes(index.read_bytes()[:100]),
    "a changed index": lambda data, index: index.write_text(index.read_text().replace("a man walks", "a man talks")),
    "an index of something else": lambda data, index: index.write_text(checked("[1]")),
    "an index without frames": lambda data, index: index.write_text(checked("{}")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_pack_is_written_again(folder, count_packing, damage):
    cold = described(read_split(T2M, folder, "train"))
    index, data = sorted((folder / PACKED).iterdir(), key=lambda path: path.suffix, reverse=True)
    damage(*((data, index) if data.suffix == ".f32" else (index, data)))
    assert described(read_split(T2M, folder, "train")) == cold
    assert len(count_packing) == 2
    read_split(T2M, folder, "train")
    assert len(count_packing) == 2


def test_a_folder_that_cannot_be_written_to_is_read_into_memory(folder, count_packing, capfd):
    """A file in the place of the packs: root may write into folders whose mode forbids it."""
    expected = described(read_split(T2M, folder, "train"))
    shutil.rmtree(folder / PACKED)
    (folder / PACKED).write_bytes(b"")
    capfd.readouterr()
    clips = read_split(T2M, folder, "train")
    assert described(clips) == expected
    assert all(clip.motion.base is clips[0].motion.base for clip in clips)
    assert "read into memory" in capfd.readouterr().err


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch, capfd):
    write_motions = humanml._write_motions

    def fails_at_the_end(spec, folder, names, file):
        index = write_motions(spec, folder, names, file)
        if hasattr(file, "fileno") and not hasattr(file, "getbuffer"):
            raise OSError(28, "No space left on device")
        return index

    monkeypatch.setattr(humanml, "_write_motions", fails_at_the_end)
    assert [clip.name for clip in read_split(T2M, folder, "train")] == ["a", "a@20-80", "b"]
    assert packs(folder) == []
    assert "No space left" in capfd.readouterr().err


def test_writing_to_a_clip_does_not_reach_the_pack(folder):
    clips = read_split(T2M, folder, "train")
    before = clips[0].motion.copy()
    clips[0].motion[:] = 7
    np.testing.assert_array_equal(read_split(T2M, folder, "train")[0].motion, before)


def test_processes_that_pack_at_once(folder):
    for i in range(60):
        add(folder, f"c{i}", 100)
    (folder / "train.txt").write_text("".join(f"c{i}\n" for i in range(60)))
    code = (
        "import sys, zlib, pathlib; from dataset.humanml import read_split; from dataset.spec import T2M;"
        "clips = read_split(T2M, pathlib.Path(sys.argv[1]), 'train');"
        "print(zlib.crc32(b''.join(clip.motion.tobytes() for clip in clips)))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate()[0] for process in running}
    assert len(said) == 1 and said.pop().strip().isdigit()
    assert len(packs(folder)) == 2


def test_unfinished_files_of_others_go_when_they_are_old(folder):
    read_split(T2M, folder, "train")
    fresh, old = (folder / PACKED / f".train.0123456789abcdef.{pid}.f32" for pid in (1, 2))
    for path in (fresh, old):
        path.write_bytes(b"")
    os.utime(old, (old.stat().st_mtime - ABANDONED - 10,) * 2)
    add(folder, "b", 99)
    read_split(T2M, folder, "train")
    assert fresh.exists() and not old.exists()


def test_nothing_usable_is_packed_too(folder, count_packing):
    (folder / "val.txt").write_text("short\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="no usable clip"):
            read_split(T2M, folder, "val")
    assert len(count_packing) == 1


def test_other_lengths_are_another_pack(folder, count_packing):
    read_split(T2M, folder, "train")
    shorter = dataclasses.replace(T2M, max_frames=100)
    assert [clip.name for clip in read_split(shorter, folder, "train")] == ["a@20-80", "b"]
    assert len(count_packing) == 2


def test_fingerprint(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    files = [str(tmp_path / "a"), str(tmp_path / "b")]
    key = fingerprint(("x", 1), files)
    assert key == fingerprint(("x", 1), files) and len(key) == 16
    assert len({key, fingerprint(("x", 2), files), fingerprint(("x", 1), files[:1])}) == 3
    (tmp_path / "b").write_bytes(b"")
    assert fingerprint(("x", 1), files) != key


def test_write_and_open(tmp_path):
    motion = np.arange(12, dtype=np.float32).reshape(4, 3)

    def fill(file):
        file.write(motion)
        return {"frames": 4, "clips": ["é"]}

    assert open_pack(tmp_path, "train", "00", 3) is None
    write_pack(tmp_path, "train", "00", fill)
    found, index = open_pack(tmp_path, "train", "00", 3)
    np.testing.assert_array_equal(found, motion)
    _, content = (tmp_path / PACKED / "train.00.json").read_text().split("\n")
    assert index == {"frames": 4, "clips": ["é"]} == json.loads(content)
    assert open_pack(tmp_path, "train", "00", 4) is None
    with pytest.raises(OSError):
        write_pack(tmp_path / PACKED / "train.00.json", "train", "00", fill)
