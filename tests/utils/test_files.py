"""A file is written whole or not at all."""

import os

import numpy as np
import pytest

from utils.files import write_text, write_whole


def test_text_and_folders(tmp_path):
    path = write_text(tmp_path / "a/b/c.txt", "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    write_text(path, "2")
    assert path.read_text() == "2"
    assert os.listdir(path.parent) == ["c.txt"]


def test_numpy_keeps_the_suffix(tmp_path):
    write_whole(tmp_path / "a.npy", lambda path: np.save(path, np.arange(3)))
    assert os.listdir(tmp_path) == ["a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.arange(3))


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failing_writer_leaves_the_old_file_whole(tmp_path, error, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)

    def write(temporary):
        assert temporary != path and temporary.suffix == ".txt"
        temporary.write_text("half of the new o")
        if old:
            assert path.read_text() == old
        raise error("disk")

    with pytest.raises(error, match="disk"):
        write_whole(path, write)
    assert os.listdir(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OSError):
        write_whole(tmp_path / "a.txt", lambda path: None)
    assert (tmp_path / "a.txt").read_text() == "old"
