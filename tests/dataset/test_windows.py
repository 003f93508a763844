"""Windows are stretches of single clips."""

import numpy as np
import pytest
import torch

from dataset.humanml import Clip
from dataset.windows import Windows, one_array

LENGTHS = (40, 63, 64, 65, 101, 199)


def clips(lengths=LENGTHS):
    """Column 0 tells the clip, column 1 the frame."""
    return [
        Clip(f"c{i}", np.stack((np.full(count, i), np.arange(count), np.ones(count)), axis=1).astype(np.float32), ())
        for i, count in enumerate(lengths)
    ]


def draws(windows, batch=2000, seed=0):
    return windows.draw(batch, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("window", "unit"), [(64, 4), (64, 8), (70, 4), (40, 4), (196, 4)])
def test_rows_lie_within_one_clip(window, unit):
    windows = Windows(clips(), torch.zeros(3), torch.ones(3), window, unit)
    motion, lengths = draws(windows)
    assert motion.shape == (2000, windows.window, 3) and windows.window <= window
    seen = set()
    for row, length in zip(motion, lengths.tolist()):
        row = row[:length]
        clip, first = int(row[0, 0]), int(row[0, 1])
        assert (row[:, 0] == clip).all()
        torch.testing.assert_close(row[:, 1], torch.arange(first, first + length, dtype=torch.float32))
        assert length % unit == 0 and length == min(LENGTHS[clip] // unit * unit, window // unit * unit)
        seen.add((clip, first))
    places = [LENGTHS[clip] - min(LENGTHS[clip] // unit * unit, window // unit * unit) + 1 for clip in range(6)]
    assert {clip for clip, _ in seen} == set(range(6))
    for clip, count in enumerate(places):  # both ends of every clip are reached
        found = [first for c, first in seen if c == clip]
        assert min(found) <= count // 20 and max(found) >= count - 1 - count // 20


def test_clips_are_drawn_by_their_length():
    motion, _ = draws(Windows(clips((40, 160)), torch.zeros(3), torch.ones(3), 40, 4), batch=4000)
    assert (motion[:, 0, 0] == 1).double().mean().item() == pytest.approx(0.8, abs=0.03)


def test_normalised():
    mean, std = torch.tensor([0.0, 10.0, 1.0]), torch.tensor([1.0, 2.0, 0.5])
    motion, lengths = draws(Windows(clips((64,)), mean, std, 64, 4), batch=1)
    assert lengths.tolist() == [64]
    torch.testing.assert_close(motion[0, :, 1], (torch.arange(64.0) - 10) / 2)
    assert (motion[0, :, 2] == 0).all()


def test_same_seed_same_windows():
    windows = Windows(clips(), torch.zeros(3), torch.ones(3), 64, 4)
    first, again, other = (draws(windows, 50, seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def packed(clips):
    """The same clips as views into one array, a few frames apart."""
    gap = np.full((3, 3), 99, np.float32)
    motion = np.concatenate([part for clip in clips for part in (gap, clip.motion)])
    ends = np.cumsum([3 + len(clip.motion) for clip in clips])
    return [
        Clip(clip.name, motion[end - len(clip.motion) : end], clip.captions) for clip, end in zip(clips, ends.tolist())
    ]


def test_views_into_one_array_are_drawn_from_without_a_copy():
    apart, views = clips(), packed(clips())
    of_apart, of_views = (Windows(c, torch.zeros(3), torch.ones(3), 64, 4) for c in (apart, views))
    assert of_views.motion.data_ptr() == views[0].motion.base.ctypes.data
    (motion, lengths), (same, same_lengths) = draws(of_apart), draws(of_views)
    assert torch.equal(lengths, same_lengths)
    for row, other, length in zip(motion, same, lengths.tolist()):
        assert torch.equal(row[:length], other[:length])


def test_clips_that_overlap_and_come_in_any_order():
    motion = clips((199,))[0].motion.copy()
    parts = [Clip("b", motion[120:199], ()), Clip("a", motion[0:199], ()), Clip("c", motion[50:121], ())]
    array, starts = one_array(parts)
    assert array is motion and starts.tolist() == [120, 0, 50]


def test_clips_of_several_arrays_are_put_together():
    first, second = packed(clips((40, 50))), packed(clips((60, 70)))
    array, starts = one_array(first + second)
    assert len(array) == 40 + 50 + 60 + 70 and starts.tolist() == [0, 40, 90, 150]
    array, starts = one_array([Clip("backwards", first[0].motion[::-1], ()), first[1]])
    np.testing.assert_array_equal(array[:40], first[0].motion[::-1])


def test_drawing_changes_nothing():
    views = packed(clips())
    before = views[0].motion.base.copy()
    draws(Windows(views, torch.ones(3), torch.full((3,), 2.0), 64, 4))
    np.testing.assert_array_equal(views[0].motion.base, before)
