"""Statistics from a folder, and the space that training works in."""

import numpy as np
import pytest

from dataset.humanml import Clip
from dataset.normalizer import published_statistics, read_statistics, training_statistics, upper_statistics
from dataset.spec import BANDAI, KIT, T2M


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


@pytest.mark.parametrize(("spec", "weight"), [(T2M, 25), (BANDAI, 5)], ids=["t2m", "bandai"])
def test_root_and_contacts_weigh_more_in_training(folder, tmp_path, spec, weight):
    mean, std = read_statistics(folder, spec)
    training_mean, training_std = training_statistics(folder, spec, tmp_path / "nowhere")
    np.testing.assert_array_equal(training_mean, mean)
    factor = np.ones(spec.dim)
    factor[[0, 1, 2, 3, -4, -3, -2, -1]] = weight
    np.testing.assert_allclose(std / training_std, factor, rtol=1e-6)


@pytest.fixture
def checkpoints(tmp_path):
    """Statistics as they come with the extractors, of t2m."""
    meta = tmp_path / "checkpoints/t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta"
    meta.mkdir(parents=True)
    np.save(meta / "mean.npy", np.arange(T2M.dim))
    np.save(meta / "std.npy", np.full(T2M.dim, 2.0))
    return tmp_path / "checkpoints"


def test_published_statistics_are_those_of_training(folder, checkpoints):
    for mean, std in (published_statistics(T2M, checkpoints), training_statistics(folder, T2M, checkpoints)):
        np.testing.assert_array_equal(mean, np.arange(T2M.dim))
        np.testing.assert_array_equal(std, np.full(T2M.dim, 2.0))
        assert mean.dtype == std.dtype == np.float32


def test_published_statistics_that_are_not_there(folder, checkpoints):
    with pytest.raises(ValueError, match=r"kit.*bash dataset/prepare/download_extractor\.sh"):
        published_statistics(KIT, checkpoints)
    with pytest.raises(ValueError, match="no published statistics of bandai"):
        published_statistics(BANDAI, checkpoints)
    (checkpoints / "t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta/std.npy").unlink()
    with pytest.raises(ValueError, match=r"download_extractor\.sh"):
        published_statistics(T2M, checkpoints)
    training_statistics(folder, T2M, checkpoints)


def test_published_statistics_of_another_width(folder, checkpoints):
    np.save(checkpoints / "t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta/std.npy", np.ones(5))
    for read in (lambda: published_statistics(T2M, checkpoints), lambda: training_statistics(folder, T2M, checkpoints)):
        with pytest.raises(ValueError, match="t2m has 263"):
            read()


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


def test_upper_statistics():
    """Heights above the root, of the joints by name; one deviation for all."""
    rng = np.random.default_rng(1)
    clips = [Clip(str(i), rng.standard_normal((30 + i, KIT.dim)).astype(np.float32), ()) for i in range(3)]
    mean, std = upper_statistics(clips, KIT)
    motion = np.concatenate([clip.motion for clip in clips])
    heights = np.stack([motion[:, 4 + 3 * (joint - 1) + 1] - motion[:, 3] for joint in range(1, 11)], axis=1)
    np.testing.assert_allclose(mean, heights.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(std, np.full(10, heights.std(axis=0).mean()), rtol=1e-6)
    assert mean.dtype == std.dtype == np.float32
    still = [Clip("still", np.zeros((5, KIT.dim), np.float32), ())]
    assert (upper_statistics(still, KIT)[1] == 1).all()
