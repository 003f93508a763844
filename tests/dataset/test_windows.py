"""Windows are stretches of single clips."""

import numpy as np
import pytest
import torch

from dataset.humanml import Clip
from dataset.windows import Windows

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
