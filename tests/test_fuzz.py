"""Damaged BVH files, text files and sentences: a ValueError in words or a result; never a hang, a crash or all memory.

A few dozen of each in the suite; as many as one likes with FUZZ=1000 python -m pytest tests/test_fuzz.py.
"""

import os
import resource
import signal
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset.motion_file import read_motion
from dataset.spec import BANDAI
from models.pipeline import MotionPipeline
from options.option_generate import GenerateOptions
from options.prompts import check_text, file_stem, read_texts
from tests.motions import walking
from tests.tiny import make_checkpoints
from utils.bvh_export import motion_bvh
from utils.film import motion_frames
from utils.visualize import motion_html

COUNT = int(os.environ.get("FUZZ", "25"))
PATIENCE, ROOM = 30, 600_000  # seconds for one example on a busy machine, KiB of memory for all
many = settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))

WORDS = motion_bvh(walking(BANDAI, 4), BANDAI, 20.0).replace("\n", " \n ").split(" ")
DAMAGE = [
    "", "{", "}", "JOINT", "ROOT x", "End Site", "MOTION", "OFFSET", "CHANNELS", "Frames:", "HIERARCHY", "nan", "inf",
    "-inf", "1e308", "-1e308", "1e999", "1e-320", "0", "-1", "6", "7", "99999999999999999999", "1_0", "0x10", "١",
    "\x00", "\ufeff", "Xposition", "Zrotation", "Hips", "LeftFoot", "a" * 5000, "{ " * 3000, "0 " * 20_000,
    "End Site { OFFSET 0 0 0 } " * 300,
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def bounded():
    """No example may hang, and all of them together take little memory."""

    def hang(*_):
        raise TimeoutError("an example takes too long")

    before, handler = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, signal.signal(signal.SIGALRM, hang)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < ROOM


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    tiny = make_checkpoints(tmp_path_factory.mktemp("tiny"))
    return MotionPipeline.load(tiny.vq, tiny.trans, "cpu", tiny.length)


@st.composite
def bvh_files(draw):
    """Bytes of a good file of which words are dropped, doubled, exchanged or replaced, or that is cut; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=2000))
    words = list(WORDS)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(words) - 1))
        instead = draw(
            st.sampled_from([*DAMAGE, words[place] * 2, f"{words[place]} {words[place]}"]) | st.text(max_size=8)
        )
        words[place] = instead
    if draw(st.booleans()):
        other = draw(st.integers(0, len(words) - 1))
        words[0], words[other] = words[other], words[0]
    text = " ".join(words)
    for _ in range(draw(st.integers(0, 2))):
        text = text.replace("Frame Time: 0.05", f"Frame Time: {draw(st.floats())}")
    return text.encode("utf-8", errors="surrogatepass")[: draw(st.none() | st.integers(0, len(text)))]


@many
@given(content=bvh_files())
def test_bvh_files(content):
    signal.alarm(PATIENCE)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numbers whose squares are infinite
        path = Path(folder) / "a.bvh"
        path.write_bytes(content)
        try:
            motion = read_motion(path, BANDAI)
            features = motion.features_without(np.zeros(motion.frames, dtype=bool))
        except ValueError as error:
            assert "a.bvh" in str(error)
            return
        assert features.shape == (motion.frames, BANDAI.dim) and np.isfinite(motion.joints).all()


@many
@given(content=st.binary(max_size=300) | st.text(max_size=3000).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_text_files(content):
    signal.alarm(PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.txt"
        path.write_bytes(content)
        try:
            texts = read_texts(GenerateOptions(text_file=str(path)))
        except ValueError as error:
            assert str(error)
            return
    assert texts and all(text.strip() and len(text) <= 1000 for text in texts)


@many
@given(text=st.text(max_size=1100) | st.text(st.characters(codec=None), max_size=60))
def test_sentences(pipeline, text):
    """Each that is taken makes a motion, a page, a film's frame, and a name that is one file's."""
    signal.alarm(PATIENCE)
    try:
        check_text(text)
    except ValueError as error:
        assert str(error)
        return
    (motion,) = pipeline.generate([text], [4], steps=1)
    assert np.isfinite(motion.joints).all()
    page = motion_html(motion.joints, BANDAI, text)
    assert page.count("<script") == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(motion_frames(motion.joints, BANDAI, text, 20.0))
    stem = file_stem(0, text, 0)
    assert stem.isascii() and "/" not in stem and len(stem) < 80
