"""Losses against plain sums; frames that do not count change nothing."""

import math

import numpy as np
import pytest
import torch

from utils.losses import displacement_error, masked_mean, reconstruction_loss, root_aligned_error


@pytest.fixture
def drawn():
    """Two motions [2, 6, 5] and how many frames of each row count."""
    generator = torch.Generator().manual_seed(0)
    motion, target = (2 * torch.randn(2, 6, 5, generator=generator) for _ in range(2))
    return motion, target, [6, 3]


def mask_of(lengths, frames):
    return torch.arange(frames) < torch.tensor(lengths)[:, None]


ERRORS = {
    "l1": abs,
    "l2": lambda d: d * d,
    "l1_smooth": lambda d: 0.5 * d * d if abs(d) < 1 else abs(d) - 0.5,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_reconstruction(drawn, kind):
    motion, target, lengths = drawn
    mask = mask_of(lengths, 6)
    terms = [
        ERRORS[kind]((motion[row, frame, d] - target[row, frame, d]).item())
        for row, length in enumerate(lengths)
        for frame in range(length)
        for d in range(5)
    ]
    assert reconstruction_loss(kind, motion, target, mask).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_frames_that_do_not_count(drawn):
    motion, target, lengths = drawn
    mask = mask_of(lengths, 6)
    changed = torch.where(mask[..., None], motion, torch.full_like(motion, 1e6))
    joints, changed_joints, target_joints = (
        x.unflatten(-1, (1, 5))[..., :3].repeat(1, 1, 2, 1) * torch.tensor([1.0, 2.0])[:, None]
        for x in (motion, changed, target)
    )
    for kind in ERRORS:
        assert reconstruction_loss(kind, changed, target, mask) == reconstruction_loss(kind, motion, target, mask)
    for error in (root_aligned_error, displacement_error):
        assert error(changed_joints, target_joints, mask) == error(joints, target_joints, mask) > 0
    assert masked_mean(changed, mask) == masked_mean(motion, mask)


def test_joint_errors_by_hand():
    rng = np.random.default_rng(0)
    joints, target = (rng.standard_normal((2, 6, 4, 3)) for _ in range(2))
    lengths = [6, 3]
    aligned, steps = [], []
    for row, length in enumerate(lengths):
        for frame in range(length):
            for j in range(4):
                a, b = (x[row, frame, j] - x[row, frame, 0] for x in (joints, target))
                aligned.append(math.dist(a, b))
                if frame:
                    a, b = (x[row, frame, j] - x[row, frame - 1, j] for x in (joints, target))
                    steps.append(math.dist(a, b))
    tensors = torch.from_numpy(joints), torch.from_numpy(target), mask_of(lengths, 6)
    assert root_aligned_error(*tensors).item() == pytest.approx(np.mean(aligned))
    assert displacement_error(*tensors).item() == pytest.approx(np.mean(steps))


def test_moving_all_of_it_costs_nothing():
    joints = torch.randn(1, 5, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert root_aligned_error(joints + torch.arange(5.0)[:, None, None], joints, mask).item() == pytest.approx(
        0, abs=1e-9
    )
    assert displacement_error(joints + 7, joints, mask).item() == pytest.approx(0, abs=1e-9)
    assert displacement_error(joints + torch.arange(5.0)[:, None, None], joints, mask).item() == pytest.approx(3**0.5)
