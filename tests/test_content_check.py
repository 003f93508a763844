"""The content check's input, judge and foot sliding, on made motions."""

import math

import numpy as np
import pytest
import torch

from benchmarks.content_check import (
    Example,
    Judge,
    contact_speeds,
    distance,
    figures_of,
    foot_sliding,
    judge_input,
    padded,
    shown_content,
)
from dataset.spec import BANDAI
from tests.motions import standing, turned, walking
from utils.motion import mirror_joints


def test_the_input_does_not_depend_on_place_and_direction():
    joints = walking(BANDAI)
    moved = turned(joints, 2.5) + [3.0, 0.0, -1.5]
    np.testing.assert_allclose(judge_input(moved, BANDAI), judge_input(joints, BANDAI), atol=1e-4)


def test_the_input_tells_a_motion_from_its_mirror_image():
    joints = walking(BANDAI, turn=0.6)
    mirrored = mirror_joints(joints, BANDAI)
    assert np.abs(judge_input(mirrored, BANDAI) - judge_input(joints, BANDAI)).max() > 0.5
    assert judge_input(joints, BANDAI)[:, -1].mean() == pytest.approx(0.6 / 3, rel=0.2)  # radians a second, to the left
    assert judge_input(mirrored, BANDAI)[:, -1].mean() == pytest.approx(-0.6 / 3, rel=0.2)


def test_a_walk_goes_ahead_in_its_own_heading():
    velocities = judge_input(walking(BANDAI, speed=1.2), BANDAI)[:, 66:132].reshape(-1, 22, 3)
    np.testing.assert_allclose(velocities[1:-1, 0, 2], 1.2, atol=0.05)
    np.testing.assert_allclose(velocities[1:-1, 0, 0], 0.0, atol=0.05)


def test_a_padded_batch_gives_what_its_rows_give():
    torch.manual_seed(0)
    judge = Judge(7, 4).eval()
    rows = [torch.randn(frames, 7) for frames in (40, 17, 8, 1)]
    together = judge(*padded(rows))
    alone = torch.cat([judge(*padded([row])) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_feet_that_stand_do_not_slide():
    speeds = contact_speeds(standing(BANDAI), BANDAI)
    assert len(speeds) == 2 * 59
    assert speeds.max() < 1e-9


def test_a_body_pushed_at_one_metre_a_second_slides_as_fast():
    path = np.arange(60)[:, None] / BANDAI.fps * [0.6, 0.0, 0.8]
    joints = standing(BANDAI) + path[:, None]
    np.testing.assert_allclose(contact_speeds(joints, BANDAI), 100.0)
    assert foot_sliding([Example("walk", joints, "")], {"walk": 1.0}, BANDAI) == pytest.approx(100.0)


def test_raised_and_rising_feet_are_in_no_contact():
    joints = standing(BANDAI)
    joints[:, BANDAI.left_foot[1], 1] += 0.1
    assert len(contact_speeds(joints, BANDAI)) == 59
    joints = standing(BANDAI) + np.arange(60)[:, None, None] * [0.0, 0.02, 0.0]
    assert len(contact_speeds(joints, BANDAI)) == 0


def test_sliding_counts_every_content_for_its_share():
    path = np.arange(60)[:, None, None] / BANDAI.fps * [1.0, 0.0, 0.0]
    examples = [Example("walk", standing(BANDAI) + path, ""), *[Example("bow", standing(BANDAI), "")] * 3]
    assert foot_sliding(examples, {"walk": 0.25, "bow": 0.75}, BANDAI) == pytest.approx(25.0)
    assert foot_sliding(examples, {"walk": 0.2, "bow": 0.2, "run": 0.6}, BANDAI) == pytest.approx(50.0)
    assert math.isnan(foot_sliding([], {"walk": 1.0}, BANDAI))


def test_a_mirror_image_shows_the_mirrored_content():
    assert shown_content("dataset-1_walk-left_active_001", BANDAI) == "walk-left"
    assert shown_content("Mdataset-1_walk-left_active_001", BANDAI) == "walk-right"
    assert shown_content("Mdataset-2_raise-up-both-hands_old_001", BANDAI) == "raise-up-both-hands"
    assert shown_content("Mdataset-1_walk-back_old_001@0-195", BANDAI) == "walk-back"


def test_figures_and_distances():
    joints = standing(BANDAI)
    examples = [Example("walk", joints, "a"), Example("walk", joints, "b"), Example("bow", joints, "c")]
    figures = figures_of(examples, ["walk", "bow", "bow"], ["walk", "bow", "run"])
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["per_content"] == {"walk": 0.5, "bow": 1.0}
    assert figures["mistakes"] == [{"asked": "walk", "said": "bow", "source": "b"}]
    assert distance(joints, joints[:30]) == 0
    assert distance(joints, joints + [0.0, 0.5, 0.0]) == pytest.approx(0.5)
