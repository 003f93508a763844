"""Motions as animated GIFs."""

import io

import numpy as np
import pytest
from PIL import Image

from dataset.spec import BANDAI, KIT
from tests.motions import walking
from utils.video import EVERY, SIZE, motion_gif


@pytest.mark.parametrize("spec", [BANDAI, KIT], ids=lambda spec: spec.name)
def test_a_gif_moves_at_the_motions_pace(spec):
    joints = walking(spec, 41) * spec.metres_per_unit
    with Image.open(io.BytesIO(motion_gif(joints, spec))) as gif:
        assert gif.size == SIZE and gif.n_frames == len(joints[::EVERY])
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")))
            assert gif.info["duration"] == pytest.approx(1000 * EVERY / spec.fps, abs=10)
    assert all((frame != 255).any() for frame in frames) and (frames[0] != frames[-1]).any()
    edge = np.concatenate([np.concatenate((f[0], f[-1], f[:, 0], f[:, -1])) for f in frames])
    assert (edge == 255).all(), "all of the way is in view"


def test_what_an_untrained_model_makes_is_drawn_too():
    for joints in (np.full((3, 22, 3), np.nan), np.full((1, 22, 3), 1e6), np.zeros((2, 22, 3))):
        assert motion_gif(joints, BANDAI).startswith(b"GIF89a")
