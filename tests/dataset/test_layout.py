"""Writing a folder of HumanML3D's layout."""

import numpy as np
import pytest

from dataset.prepare import layout
from dataset.spec import KIT


def test_text_line():
    assert layout.text_line("he walks", "he/PRON walk/VERB") == "he walks#he/PRON walk/VERB#0.0#0.0"
    assert layout.text_line("a", "a/DET", 1.5, 11.25).endswith("#1.5#11.2")


def test_statistics(tmp_path):
    """Mean and deviation over all frames of the named clips; one deviation for each group of features."""
    rng = np.random.default_rng(0)
    clips = {name: rng.standard_normal((count, KIT.dim)) * 3 + 100 for name, count in (("a", 30), ("b", 50), ("c", 9))}
    for name, features in clips.items():
        path = layout.features_path(tmp_path, name)
        path.parent.mkdir(exist_ok=True)
        np.save(path, features.astype(np.float32))
    layout.write_statistics(tmp_path, ["a", "b"], KIT)
    frames = np.concatenate((clips["a"], clips["b"]))
    mean, std = np.load(tmp_path / "Mean.npy"), np.load(tmp_path / "Std.npy")
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-5)
    own = frames.std(axis=0)
    for first, last in ((0, 1), (1, 3), (3, 4), (4, 64), (64, 184), (184, 247), (247, 251)):
        np.testing.assert_allclose(std[first:last], own[first:last].mean(), rtol=1e-4)


def test_splits(tmp_path):
    layout.write_splits(tmp_path, {"train": ["c", "a"], "val": ["d"], "test": ["b"]})
    found = {path.stem: path.read_text().split("\n") for path in tmp_path.glob("*.txt")}
    assert found == {
        "train": ["a", "c", ""],
        "val": ["d", ""],
        "test": ["b", ""],
        "train_val": ["a", "c", "d", ""],
        "all": ["a", "b", "c", "d", ""],
    }


@pytest.mark.parametrize("frames", [200, 201, 292, 293, 390, 500, 1234])
def test_sub_clips_cover_a_long_clip(frames):
    longest = 195
    stretches = layout.sub_clips(frames / 20, longest / 20)
    covered = np.zeros(frames, bool)
    for start, end in stretches:
        first, last = int(float(f"{start:.1f}") * 20), int(float(f"{end:.1f}") * 20)  # as the reader will see them
        assert 0 <= first < last and longest - 2 <= min(last, frames) - first <= longest + 2
        covered[first:last] = True
    assert covered[:-2].all()
    assert len(stretches) <= 2 * frames / longest + 1
