"""Films: what they show, how long they take, and that GIF needs no ffmpeg."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from dataset.spec import BANDAI, KIT, T2M
from tests.motions import walking
from utils import film as films
from utils.film import SIZE, find_ffmpeg, motion_frames, write_gif, write_mp4
from utils.visualize import COLOURS, MADE


def film(spec=T2M, frames=5, title="a person walks", marks=None, **walk):
    joints = walking(spec, frames, **walk) * spec.metres_per_unit
    return list(motion_frames(joints, spec, title, spec.fps, marks))


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def share(picture, colour):
    """Of the pixels, how many have a colour."""
    return (np.abs(picture.astype(int) - rgb(colour)).sum(axis=-1) < 12).mean()


@pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)
def test_every_frame_is_a_picture_of_the_body(spec):
    pictures = film(spec)
    assert len(pictures) == 5
    for picture in pictures:
        assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
        for colour in COLOURS.values():
            assert share(picture, colour) > 0.005, "left, right, and the middle with its head"
        edge = np.concatenate([picture[:, 0], picture[:, -1]])
        assert not any((np.abs(edge.astype(int) - rgb(c)).sum(axis=-1) < 12).any() for c in COLOURS.values())
    assert not np.array_equal(pictures[0], pictures[3])


def test_the_camera_goes_along():
    """Someone who runs 12 metres stays in the middle, as large as at first."""
    pictures = film(frames=81, speed=3.0, turn=0.0)
    for picture in pictures[::20]:
        columns = np.flatnonzero((np.abs(picture.astype(int) - rgb(COLOURS["middle"])).sum(axis=-1) < 12).any(axis=0))
        assert 0.3 * SIZE < columns.mean() < 0.7 * SIZE
    assert share(pictures[0], COLOURS["left"]) == pytest.approx(share(pictures[80], COLOURS["left"]), rel=0.5)


def test_made_frames_are_violet():
    pictures = film(marks={"generated": [(2, 4)]})
    assert [share(picture, MADE) > 0.005 for picture in pictures] == [False, False, True, True, False]


@pytest.mark.parametrize("title", ["$x$ & <b>", "🚶 歩く人", "walk\x00away\x1b", "word " * 300, "", "w" * 900])
def test_any_title(title, recwarn):
    plain, titled = film(frames=1, title="")[0], film(frames=1, title=title)[0]
    assert not recwarn.list
    assert (plain[:15] == 255).all() and ((titled[:30] != 255).any() or not title)


def test_gif(tmp_path):
    pictures = film(KIT, frames=7)
    write_gif(tmp_path / "a.gif", iter(pictures), 12.5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 7 and gif.size == (SIZE, SIZE) and gif.info["loop"] == 0
        assert gif.info["duration"] == 80
        gif.seek(3)
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - pictures[3]).mean() < 1


def test_gif_keeps_time(tmp_path):
    """30 frames a second are no whole number of hundredths each; two seconds still take two seconds."""
    pictures = [np.full((SIZE, SIZE, 3), i % 250, np.uint8) for i in range(60)]
    write_gif(tmp_path / "a.gif", iter(pictures), 30.0)
    with Image.open(tmp_path / "a.gif") as gif:
        total = 0
        for i in range(gif.n_frames):
            gif.seek(i)
            total += gif.info["duration"]
    assert total == 2000


def probe(path):
    """What ffmpeg says of a file, and its frames decoded."""
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    said = subprocess.run([exe, "-i", path], capture_output=True, text=True).stderr
    raw = subprocess.run([exe, "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True).stdout
    return said, np.frombuffer(raw, np.uint8).reshape(-1, SIZE, SIZE, 3)


def test_mp4(tmp_path):
    pictures = film(frames=10)
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, iter(pictures), 20.0)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    said, frames = probe(tmp_path / "a.mp4")
    assert "h264" in said and "yuv420p" in said and "20 fps" in said and "00:00:00.50" in said
    assert len(frames) == 10
    assert np.abs(frames.astype(int) - np.array(pictures)).mean() < 6


def test_without_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("no exe")))
    with pytest.raises(ValueError, match=r"mp4 needs ffmpeg.*gif"):
        find_ffmpeg()
    write_gif(tmp_path / "a.gif", iter(film(frames=2)), 20.0)


def test_an_ffmpeg_that_fails(tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(films, "find_ffmpeg", lambda: str(broken))
    with pytest.raises(OSError, match=r"a.mp4: it is broken"):
        write_mp4(tmp_path / "a.mp4", iter(film(BANDAI, frames=3)), 20.0)
