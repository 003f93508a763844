"""Statistics from a folder, and the space that training works in."""

import numpy as np
import pytest

from dataset.normalizer import read_statistics, training_statistics
from dataset.spec import KIT, T2M


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "Mean.npy", rng.standard_normal(T2M.dim))
    np.save(tmp_path / "Std.npy", rng.uniform(0.5, 2, T2M.dim))
    return tmp_path


def test_read(folder):
    mean, std = read_statistics(folder, T2M)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, np.load(folder / "Mean.npy"), rtol=1e-6)
    np.testing.assert_allclose(std, np.load(folder / "Std.npy"), rtol=1e-6)


def test_root_and_contacts_weigh_five_times_as_much_in_training(folder):
    mean, std = read_statistics(folder, T2M)
    training_mean, training_std = training_statistics(folder, T2M)
    np.testing.assert_array_equal(training_mean, mean)
    factor = np.ones(T2M.dim)
    factor[[0, 1, 2, 3, -4, -3, -2, -1]] = 5
    np.testing.assert_allclose(std / training_std, factor, rtol=1e-6)


def test_what_is_not_there_or_does_not_fit(folder):
    with pytest.raises(ValueError, match=r"263.*kit has 251"):
        read_statistics(folder, KIT)
    (folder / "Std.npy").unlink()
    with pytest.raises(ValueError, match=r"Std\.npy"):
        read_statistics(folder, T2M)


@pytest.mark.parametrize("content", [b"", b"words", b"\x93NUMPY\x01\x00"], ids=["empty", "words", "truncated"])
def test_broken_files(folder, content):
    (folder / "Mean.npy").write_bytes(content)
    with pytest.raises(ValueError):
        read_statistics(folder, T2M)
