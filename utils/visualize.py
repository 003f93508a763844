"""Motions to look at: a self-contained web page, and a strip of poses as a matplotlib figure.

The page (`motion_page.html`) draws on a plain 2-D canvas. Plotly's 3-D was the other choice: it needs WebGL, which many
remote desktops and headless browsers lack, and its script alone weighs 4.7 MB in every page. This page is some 100 KB,
asks the network for nothing and plays on the wall clock: a slow machine drops frames and never slows the motion down.

Axes: x, y up, z in metres; the floor is y = 0. T frames, J joints.
"""

import base64
import html
import io
import json
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from dataset.spec import DatasetSpec

TEMPLATE = Path(__file__).with_name("motion_page.html")

# Blue against orange stays apart in every common colour blindness, and each reads on white as well as on near-black.
COLOURS = {"left": "#2b86d1", "right": "#e8791c", "middle": "#7d8794"}
MADE = "#9a5bd0"  # of marked frames
MADE_GROUND = "#f3ebfb"  # behind them in a picture
GROUND, GRID = "#f2f4f7", "#d3dae2"  # the floor in a picture
PATH_COLOURS = ("#b9c2cd", "#5f6874")  # to come, and walked
SCREEN_DPI = 72  # of a picture in a notebook
COLUMN, HEAD, FOOT = 1.9, 0.3, 0.3  # inches of a picture: a pose's width, a label above a strip, the times below it

Ranges = Sequence[tuple[int, int]]  # first and end (not included) of stretches of frames

YAW, PITCH = math.radians(35), math.radians(14)  # the first view: half from the front, a little from above


def motion_html(
    joints: np.ndarray, spec: DatasetSpec, title: str, fps: float | None = None, marks: dict[str, Ranges] | None = None,
    source: np.ndarray | None = None,
) -> str:  # fmt: skip
    """One HTML document that plays joints [T, J, 3] (metres, y up) under the sentence `title`, at `fps` (the spec's).

    `marks` is one name of ranges of frames, {"generated": [(first, end), ...]}: they have a colour of their own on the
    track, on the path and in the body's middle. `source` is another motion [S, J, 3] that is shown pale beside it.

    The address may end in `#frame=30` or `#frame=30&view=side` (front, side, top): the page then opens paused there.
    Scripts find `window.motionPage = {seek(frame), play(), pause(), frame(), frames, fps}`.
    """
    joints = checked_joints(joints, spec)
    fps = float(spec.fps if fps is None else fps)
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be a positive number, not {fps}")
    name, ranges = next(iter((marks or {}).items()), ("", ()))
    if not all(0 <= first < end <= len(joints) for first, end in ranges):
        raise ValueError(f"ranges must be of frames 0:{len(joints)}, not {list(ranges)}")
    motion = {
        "fps": fps,
        "frames": len(joints),
        "parents": spec.parents,
        "sides": [spec.side(joint) for joint in range(spec.joints)],
        "head": spec.joint_names.index("head"),
        "heading": heading_angle(joints[0], spec),
        "yaw": YAW,
        "pitch": PITCH,
        "millimetres": _millimetres(joints),
        "marked": [list(stretch) for stretch in ranges],
        "mark": name,
        "source": None if source is None else _millimetres(checked_joints(source, spec)),
    }
    fields = {
        "TITLE": html.escape(title.strip() or "untitled motion"),
        "MOTION": json.dumps(motion, separators=(",", ":")).replace("<", "\\u003c"),  # "</script>" would end the script
        "MADE": MADE,
        **{side.upper(): colour for side, colour in COLOURS.items()},
    }
    # One pass, so that a field's own text is never taken for another field's place.
    return re.sub(r"__([A-Z]+)__", lambda match: fields[match[1]], TEMPLATE.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Strip:
    """One row of a picture: poses of a motion."""

    joints: np.ndarray  # [T, J, 3] metres, y up
    label: str = ""
    made: Ranges = ()  # frames that are coloured apart
    frames: int | Sequence[int] = 8  # which ones are shown, or how many, evenly spread from first to last
    made_path: bool = True  # of those frames, the path is coloured too: it is kept where only the upper body is made


class Picture(Figure):
    """A figure of no pyplot state: made in any thread, saved, given to TensorBoard, or shown by a notebook."""

    def _repr_png_(self) -> bytes:
        """What Jupyter shows where a cell ends with it."""
        canvas = FigureCanvasAgg(self)
        self.set_dpi(SCREEN_DPI)
        canvas.draw()
        png = io.BytesIO()
        # few colours make a third of the bytes: notebooks keep their pictures, and a repository keeps notebooks
        Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(64).save(png, "png", optimize=True)
        return png.getvalue()


@dataclass(frozen=True)
class _Layout:
    """How much room each pose has, the same in all strips of a picture."""

    half: float  # metres to either side of the root
    low: float  # metres from the floor
    high: float
    columns: int

    @property
    def inches(self) -> float:
        """On paper, per metre."""
        return COLUMN / (2 * self.half)

    @property
    def width(self) -> float:
        return COLUMN * self.columns

    @property
    def body(self) -> float:
        """Inches from `low` to `high`."""
        return (self.high - self.low) * self.inches


def motion_picture(joints: np.ndarray, spec: DatasetSpec, title: str, frames: int = 6) -> Picture:
    """`frames` poses of joints [T, J, 3] (metres, y up), evenly spread from first to last, side by side."""
    return strips_picture([Strip(joints, frames=frames)], spec, title)


def strips_picture(strips: Sequence[Strip], spec: DatasetSpec, title: str) -> Picture:
    """Strips of poses, one below the other, to one scale and from one side: that of the very first pose.

    Each pose stands in the middle of its own axes; the floor's metre grid stays in the world, so travel shows. Frames
    that were made have a violet ground, path and trunk, and say so.
    """
    motions = [checked_joints(strip.joints, spec) for strip in strips]
    chosen = [_chosen(strip.frames, len(motion)) for strip, motion in zip(strips, motions)]
    view = view_axes(heading_angle(motions[0][0], spec) + YAW, PITCH)
    paths = [motion[:, 0] * (1, 0, 1) for motion in motions]  # [T, 3] the root on the floor
    poses = [  # [n, J, 3] right, up, towards the eye
        (motion[frames] - path[frames, None]) @ view.T for motion, path, frames in zip(motions, paths, chosen)
    ]
    layout = _layout(poses)

    lines = textwrap.wrap(title, 22 * layout.columns + 10) or [""]
    top = 0.26 * len(lines) + 0.1
    heights = [HEAD * bool(strip.label) + layout.body + FOOT for strip in strips]
    height = top + sum(heights)
    figure = Picture(figsize=(layout.width, height), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    # A sentence is text: "$" in it starts no formula.
    figure.suptitle("\n".join(lines), y=1 - 0.08 / height, va="top", fontsize=11, color="#1d232b", parse_math=False)
    below = height - top
    for strip, path, frames, pose, own in zip(strips, paths, chosen, poses, heights):
        if strip.label:
            place = 0.1 / layout.width, (below - 0.06) / height
            figure.text(*place, strip.label, va="top", fontsize=11, color="#1d232b", parse_math=False)
        below -= own
        _draw_strip(figure, strip, path, frames, pose, view, layout, below / height, spec)
    return figure


def _layout(poses: Sequence[np.ndarray]) -> _Layout:
    """Room for the widest and the tallest of the poses [n, J, 3] of each strip."""
    margin = 0.25  # metres: half a head, or a hand beyond its wrist, and some air
    half = max(max(abs(pose[..., 0]).max() for pose in poses) + margin, 0.6)
    low = min(min(pose[..., 1].min() for pose in poses), -half * math.sin(PITCH)) - 0.05
    return _Layout(half, low, max(pose[..., 1].max() for pose in poses) + margin, max(map(len, poses)))


def _draw_strip(
    figure: Figure, strip: Strip, path: np.ndarray, frames: np.ndarray, poses: np.ndarray, view: np.ndarray,
    layout: _Layout, bottom: float, spec: DatasetSpec,
) -> None:  # fmt: skip
    """Poses [n, J, 3] at `frames` [n] of a motion with the root's path [T, 3], from the share `bottom` of a figure."""
    made = np.zeros(len(path), dtype=bool)
    for first, end in strip.made:
        made[first:end] = True
    width, foot, body = 1 / layout.columns, *(inches / figure.get_figheight() for inches in (FOOT, layout.body))
    for column, (frame, pose) in enumerate(zip(frames, poses)):
        left = column * width
        middle, said, ink = (MADE, " made", MADE) if made[frame] else (COLOURS["middle"], "", "#5f6874")
        if made[frame]:
            figure.add_artist(
                Rectangle((left, bottom), width, body + foot, facecolor=MADE_GROUND, linewidth=0, zorder=-1)
            )
        axes = figure.add_axes(
            (left, bottom + foot, width, body), xlim=(-layout.half, layout.half), ylim=(layout.low, layout.high),
            aspect="equal",
        )  # fmt: skip
        axes.axis("off")
        radius = 0.97 * layout.half
        axes.fill(*floor_rim(view, radius).T, color=GROUND, linewidth=0, zorder=0)
        for stroke in floor_strokes(path, frame, path[frame], view, radius, made & strip.made_path):
            _line(axes, stroke.points.T, color=stroke.colour, linewidth=stroke.width, zorder=1)
        points = 72 * layout.inches  # to a metre on paper
        for stroke in limb_strokes(pose, spec, middle):
            _line(
                axes, stroke.points.T, color=stroke.colour, linewidth=stroke.width * points, solid_capstyle="round",
                zorder=2,
            )  # fmt: skip
        axes.text(0, layout.low, f"{frame / spec.fps:.1f} s{said}", ha="center", va="top", fontsize=9, color=ink)


def _chosen(frames: int | Sequence[int], total: int) -> np.ndarray:
    """Indices of the frames that a strip shows of `total`, each once and in order."""
    if not isinstance(frames, int):
        chosen = np.unique(frames)
        if not len(chosen) or chosen[0] < 0 or chosen[-1] >= total:
            raise ValueError(f"frames must be of 0:{total}, not {list(frames)}")
        return chosen
    if frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    return np.unique(np.linspace(0, total - 1, frames).round().astype(int))


def _millimetres(joints: np.ndarray) -> str:
    """Whole millimetres: below what the eye or the capture can tell, and two thirds of the size of JSON numbers."""
    return base64.b64encode(np.rint(joints * 1000).astype("<i4").tobytes()).decode()


def checked_joints(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """Joints as float64 [T, J, 3], or a `ValueError` that says what is wrong with them."""
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (spec.joints, 3) or len(joints) == 0:
        raise ValueError(
            f"joints must have shape [T, {spec.joints}, 3] with T >= 1 for {spec.name!r}, not {list(joints.shape)}"
        )
    if not np.isfinite(joints).all():
        raise ValueError("joints must be finite: there are NaN or infinite positions")
    return joints


def heading_angle(pose: np.ndarray, spec: DatasetSpec) -> float:
    """Angle about y, in radians from +z towards +x, that a pose [J, 3] faces."""
    right_hip, left_hip, right_shoulder, left_shoulder = pose[list(spec.face_joints)]
    left = (left_hip - right_hip) + (left_shoulder - right_shoulder)
    forward = np.cross(left, (0, 1, 0))
    return float(math.atan2(forward[0], forward[2]))


def view_axes(yaw: float, pitch: float) -> np.ndarray:
    """[3, 3] rows right, up and towards the eye, for an eye at angle `yaw` about y and `pitch` above the floor."""
    sin, cos, rise, run = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
    return np.array([(cos, 0, -sin), (-sin * rise, run, -cos * rise), (sin * run, rise, cos * run)])


@dataclass(frozen=True)
class Stroke:
    """A line on paper."""

    points: np.ndarray  # [n, 2] metres to the right and up; NaN breaks it
    colour: str
    width: float  # metres of limbs, typographic points of lines on the floor


def floor_rim(view: np.ndarray, radius: float) -> np.ndarray:
    """[73, 2] the edge of a round piece of floor about the origin."""
    turn = np.linspace(0, 2 * math.pi, 73)
    return (radius * np.stack([np.sin(turn), 0 * turn, np.cos(turn)], axis=-1) @ view.T)[:, :2]


def floor_strokes(
    path: np.ndarray, frame: int, centre: np.ndarray, view: np.ndarray, radius: float, made: np.ndarray
) -> list[Stroke]:
    """The metre grid and the root's path [T, 3], on a round piece of floor about `centre` [3].

    The part that is walked by `frame` is strong, and violet where it was `made` [T] (bool).
    """
    strokes = []
    for across, along in ((0, 2), (2, 0)):
        for metre in range(math.ceil(centre[across] - radius), math.floor(centre[across] + radius) + 1):
            ends = np.zeros((2, 3))
            ends[:, across] = metre - centre[across]
            ends[:, along] = math.sqrt(radius**2 - ends[0, across] ** 2) * np.array([-1, 1])
            strokes.append(Stroke((ends @ view.T)[:, :2], GRID, 0.8))
    near = np.linalg.norm(path - centre, axis=-1, keepdims=True) <= radius
    seen = (np.where(near, path - centre, np.nan) @ view.T)[:, :2]
    walked = seen[: frame + 1]
    return [
        *strokes,
        Stroke(seen, PATH_COLOURS[0], 1.2),
        Stroke(walked, PATH_COLOURS[1], 1.6),
        Stroke(np.where(made[: frame + 1, None], walked, np.nan), MADE, 2.0),
    ]


def limb_strokes(pose: np.ndarray, spec: DatasetSpec, middle: str) -> list[Stroke]:
    """Limbs and head of a pose [J, 3] (right, up, towards the eye), the nearest last; ends are round.

    `middle` is the colour of trunk and head.
    """
    colours = COLOURS | {"middle": middle}
    shapes = []  # how near, ends, width, colour
    for joint in range(1, spec.joints):
        ends = pose[[spec.parents[joint], joint]]
        shapes.append((ends[:, 2].mean(), ends[:, :2], 0.07, colours[spec.side(joint)]))
    head = spec.joint_names.index("head")
    bone = pose[head] - pose[spec.parents[head]]
    crown = pose[head] + 0.06 * bone / max(np.linalg.norm(bone), 1e-6)
    # as good as a dot; Agg leaves out lines shorter than a pixel, and squares level ones
    shapes.append((crown[2], crown[:2] + [(-0.003, -0.003), (0.003, 0.003)], 0.21, middle))
    # a thin white rim lets a near limb stand out from those behind it
    return [
        Stroke(ends, ink, wide)
        for _, ends, width, colour in sorted(shapes, key=lambda shape: shape[0])
        for wide, ink in ((width + 0.018, "white"), (width, colour))
    ]


def _line(axes: Axes, points: np.ndarray, **style: object) -> None:
    """A line through points [2, n]: `axes.plot` without the scaling to what is drawn, half the time of a picture."""
    axes.add_artist(Line2D(*points, **style))
