"""Clips made of clips: later by a frame, slower and faster."""

from dataclasses import replace

import numpy as np
import pytest

from dataset.augment import retimed_clips, shifted_clips
from dataset.humanml import Caption, Clip
from dataset.spec import BANDAI
from tests.motions import walking
from utils.motion import features_to_joints, joints_to_features


@pytest.fixture(scope="module")
def clips():
    motions = [joints_to_features(walking(BANDAI, frames), BANDAI) for frames in (65, 42)]
    return [Clip(f"clip{i}", motion, (Caption(f"text {i}", ()),)) for i, motion in enumerate(motions)]


def test_shifted_clips_are_the_clip_without_its_first_frames(clips):
    assert shifted_clips(clips, 1) == clips
    shifted = shifted_clips(clips, 3)
    assert [clip.name for clip in shifted] == ["clip0", "clip1", "clip0+1", "clip1+1", "clip0+2", "clip1+2"]
    for i, clip in enumerate(shifted):
        assert np.array_equal(clip.motion, clips[i % 2].motion[i // 2 :])
        assert clip.captions == clips[i % 2].captions


def test_retimed_clips_come_after_the_clips_and_are_of_their_kind(clips):
    assert retimed_clips(clips, (), BANDAI) == clips
    name = "Mdataset-2_walk-turn-left_active_001"
    made = shifted_clips(retimed_clips([replace(clips[0], name=name)], (0.9, 1.1), BANDAI), 2)
    assert [clip.name.removeprefix(name) for clip in made] == ["", "@0.9", "@1.1", "+1", "@0.9+1", "@1.1+1"]
    assert {BANDAI.kind(clip.name) for clip in made} == {"walk-turn-left"}
    assert {clip.captions for clip in made} == {clips[0].captions}


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_a_retimed_clip_is_what_a_body_at_that_speed_would_give(clips, tempo):
    """`walking` of so many more frames a second is the same walk, slower when played at the dataset's rate."""
    found = retimed_clips(clips[:1], (tempo,), BANDAI)[1].motion
    same = walking(replace(BANDAI, fps=BANDAI.fps / tempo), 1 + round(64 / tempo))
    wanted = joints_to_features(same, BANDAI)
    frames = min(len(found), len(wanted))
    assert frames >= len(wanted) - 2
    a, b = (np.asarray(features_to_joints(x[:frames], BANDAI)) for x in (found, wanted))
    assert np.abs(a - b).mean() < 0.01


def test_tempos_that_are_none(clips):
    for tempo in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="tempo"):
            retimed_clips(clips, (1.1, tempo), BANDAI)
