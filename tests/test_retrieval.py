"""Real motion chosen by caption: the figures of `benchmarks/retrieval.py`."""

import numpy as np
import torch

from benchmarks.retrieval import Shelf
from dataset.humanml import Caption, Clip
from dataset.spec import BANDAI


class Letters:
    """A judge that tells captions apart by their number and motions by their first value."""

    def read_anew(self, captions):
        return np.array([[float(caption.text), 0.0] for caption in captions])

    def embed(self, motions: list[torch.Tensor]):
        return np.stack([motion[0, :2].numpy() for motion in motions])


def shelf(captions=3):
    """Clip i has 40 + 4 i frames of value i, and is called 10 i, 10 i + 1, 10 i + 2."""
    captions_of = [tuple(Caption(f"{10 * i + j}", ()) for j in range(3)) for i in range(5)]
    motions = [np.full((40 + 4 * i, BANDAI.dim), i, np.float32) for i in range(5)]
    clips = [Clip(f"clip{i}", motion, named) for i, (motion, named) in enumerate(zip(motions, captions_of))]
    return Shelf(Letters(), clips, captions, np.random.default_rng(0))


def chosen(texts, frames, **how):
    wanted = np.array([[float(text), 0.0] for text in texts])
    how = {"near": 3, "lengths": 0} | how
    return shelf().choose(wanted, np.array(frames), generator=np.random.default_rng(0), **how)[:, 0].tolist()


def test_a_caption_gets_a_clip_that_is_called_so():
    assert chosen(["1", "41", "21"], [40, 40, 40]) == [0, 4, 2]


def test_of_several_like_captions_any_may_be_chosen():
    assert set(chosen(["15"] * 50, [40] * 50, near=6)) == {1, 2}


def test_the_clips_nearest_in_length_come_first():
    assert set(chosen(["15"] * 50, [40] * 50, near=6, lengths=3)) == {1}
    assert set(chosen(["15"] * 50, [60] * 50, near=6, lengths=3)) == {2}


def test_so_many_captions_of_a_clip_take_part():
    assert len(shelf(2).texts) == 10 and len(shelf(9).texts) == 15
