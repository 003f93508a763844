"""A motion as moving pictures: MP4 through ffmpeg, GIF without it.

The sentence above, the floor's metre grid below the body, and a camera that goes along with it and never turns.

T frames, J joints; pictures are [height, width, 3] bytes.
"""

import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from dataset.spec import DatasetSpec
from utils.visualize import (
    COLOURS,
    GRID,
    GROUND,
    MADE,
    PATH_COLOURS,
    PITCH,
    YAW,
    Ranges,
    Stroke,
    checked_joints,
    floor_rim,
    floor_strokes,
    heading_angle,
    limb_strokes,
    view_axes,
)  # fmt: skip

SIZE, DPI = 480, 100  # pixels a side (even, as H.264 wants it)
LINE = 17  # pixels of a line of the title
INK = "#1d232b"
LONGEST_TITLE = 4  # lines
MARGIN = 0.25  # metres about the body: half a head, or a hand beyond its wrist, and some air
NO_FFMPEG = (
    "mp4 needs ffmpeg, which is not here: install it (apt install ffmpeg, or pip install imageio-ffmpeg), "
    "or ask for gif"
)


def find_ffmpeg() -> str:
    """The system's ffmpeg, else the one that imageio-ffmpeg brings. Raises ValueError where there is neither."""
    try:
        return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise ValueError(NO_FFMPEG) from error


def motion_frames(
    joints: np.ndarray, spec: DatasetSpec, title: str, fps: float, marks: dict[str, Ranges] | None = None
) -> Iterator[np.ndarray]:
    """A picture for every frame of joints [T, J, 3] (metres, y up).

    `marks` is one name of ranges of frames, {"generated": [(first, end), ...]}: they are violet, and say so.
    """
    joints = checked_joints(joints, spec)
    name, ranges = next(iter((marks or {}).items()), ("", ()))
    made = np.zeros(len(joints), dtype=bool)
    for first, end in ranges:
        made[first:end] = True
    path = joints[:, 0] * (1, 0, 1)
    camera = gaussian_filter1d(path, 0.25 * fps, axis=0, mode="nearest")  # it does not shake with each step
    view = view_axes(heading_angle(joints[0], spec) + YAW, PITCH)
    seen = (joints - camera[:, None]) @ view.T  # right, up, towards the eye

    # a square that holds the body wherever it is, with the floor in sight
    half = max(abs(seen[..., 0]).max(), 0.5 * np.ptp(seen[..., 1])) + MARGIN
    middle = (seen[..., 1].min() + seen[..., 1].max()) / 2

    lines = textwrap.wrap(_drawable(title), 62, max_lines=LONGEST_TITLE, placeholder=" …")
    body = 1 - (LINE * len(lines) + 12) / SIZE  # the share of the picture that the title leaves
    points = 72 * SIZE / DPI * body / (2 * half)  # to a metre on paper
    figure = Figure(figsize=(SIZE / DPI, SIZE / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    # a sentence is text: "$" in it starts no formula
    figure.text(0.03, 0.975, "\n".join(lines), va="top", fontsize=10, color=INK, parse_math=False)
    axes = figure.add_axes((0, 0, 1, body), xlim=(-half / body, half / body), ylim=(middle - half, middle + half))
    axes.axis("off")
    axes.fill(*floor_rim(view, 2 * half).T, color=GROUND, linewidth=0)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)  # what all frames have in common

    floor = axes.add_collection(LineCollection([]), autolim=False)
    limbs = axes.add_collection(LineCollection([], capstyle="round"), autolim=False)
    clock = figure.text(0.97, 0.02, "", ha="right", va="bottom", fontsize=10, color=INK)
    mark = figure.text(0.03, 0.02, "", va="bottom", fontsize=10, color=MADE, parse_math=False)
    for frame, pose in enumerate(seen):
        _set_strokes(floor, floor_strokes(path, frame, camera[frame], view, 2 * half, made), 1.0)
        _set_strokes(limbs, limb_strokes(pose, spec, MADE if made[frame] else COLOURS["middle"]), points)
        clock.set_text(f"{frame / fps:.1f} s")
        mark.set_text(name if made[frame] else "")
        canvas.restore_region(still)
        for artist in (floor, limbs, clock, mark):
            figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _set_strokes(lines: LineCollection, strokes: list[Stroke], points: float) -> None:
    """Make `lines` these strokes, in their order; `points` to the unit of their width."""
    lines.set(
        segments=[stroke.points for stroke in strokes],
        colors=[stroke.colour for stroke in strokes],
        linewidths=[stroke.width * points for stroke in strokes],
    )


def _drawable(text: str) -> str:
    """The text with a box for each character that the font lacks: matplotlib would warn of each."""
    font = get_font(findfont(FontProperties()))
    words = " ".join(text.split())  # some control characters are white space too
    return "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "□" for c in words)


def write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """A GIF that plays for ever. Its clock counts hundredths of a second: frames are as long as keeps it in time."""
    palette = film_palette()
    nearest = np.full(1 << 24, -1, dtype=np.int16)  # the place in the palette of every colour that was met
    plain = []
    for frame in frames:
        red, green, blue = np.moveaxis(frame.astype(np.int32), -1, 0)
        colours = red << 16 | green << 8 | blue
        new = np.unique(colours[nearest[colours] < 0])
        apart = np.stack((new >> 16, new >> 8 & 255, new & 255), axis=-1)[:, None] - palette.astype(int)
        nearest[new] = np.abs(apart).sum(axis=-1).argmin(axis=1)
        plain.append(Image.fromarray(nearest[colours].astype(np.uint8)))
        plain[-1].putpalette(palette.tobytes())
    ends = np.rint(np.arange(len(plain) + 1) * 100 / fps).astype(int) * 10  # milliseconds
    plain[0].save(path, "GIF", save_all=True, append_images=plain[1:], duration=np.diff(ends).tolist(), loop=0)


def film_palette() -> np.ndarray:
    """[n <= 256, 3] bytes: the colours that a film has, and mixtures of two at their edges."""
    flat = np.array([
        [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        for colour in ("#ffffff", GROUND, GRID, *PATH_COLOURS, *COLOURS.values(), MADE, INK)
    ])  # fmt: skip
    first, second = np.triu_indices(len(flat), 1)
    shares = np.arange(1, 6)[:, None, None] / 6
    mixed = flat[first] * (1 - shares) + flat[second] * shares
    return np.concatenate((flat, mixed.reshape(-1, 3).round()))[:256].astype(np.uint8)


def write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """H.264 that every browser plays. Raises ValueError without ffmpeg, OSError with what it says where it fails."""
    command = [
        find_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE}x{SIZE}",
        "-r", f"{fps:.8g}", "-i", "pipe:0", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-fflags", "+bitexact",
        "-threads", "2", "-f", "mp4", str(path),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as ffmpeg:
        try:
            for frame in frames:
                ffmpeg.stdin.write(frame.tobytes())
            ffmpeg.stdin.close()
        except BrokenPipeError:
            pass  # what went wrong is in its own words
        except BaseException:
            ffmpeg.kill()
            raise
        said = ffmpeg.stderr.read().decode(errors="replace").strip()
    if ffmpeg.returncode:
        raise OSError(f"ffmpeg could not write {path}: {said.splitlines()[-1] if said else ffmpeg.returncode}")
