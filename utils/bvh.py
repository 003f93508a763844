"""Reading BVH motion files of any skeleton: channel orders, End Sites and position channels as the file says.

F frames, J joints with End Sites counted as joints, C channels. Lengths stay in the file's unit.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

# A body with hands and face has a few hundred joints: more, or a name of a page's length, is a broken or hostile file.
MAX_JOINTS, MAX_NAME = 2000, 200
MAX_PLACES = 10_000_000  # joints x frames: their positions and turns take a hundred bytes each
_CHANNELS = {f"{axis}{kind}": (kind, "XYZ".index(axis)) for axis in "XYZ" for kind in ("position", "rotation")}


@dataclass(frozen=True)
class Bvh:
    """A parsed file. `channels[j]` lists joint j's columns of `motion` as (kind, axis), in the file's order."""

    names: tuple[str, ...]  # an End Site is called "<parent> end"
    parents: tuple[int, ...]  # -1 for a root; parents come before children
    offsets: np.ndarray  # [J, 3]
    channels: tuple[tuple[tuple[str, int], ...], ...]
    motion: np.ndarray  # [F, C], degrees for rotations
    frame_time: float  # seconds

    @property
    def fps(self) -> float:
        return 1.0 / self.frame_time


def read_bvh(path: str | Path) -> Bvh:
    """Parse a BVH file. Raises ValueError, naming the file, for anything that is not one."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        return parse_bvh(text)
    except ValueError as error:
        raise ValueError(f"{path}: not a readable BVH file: {error}") from error


def parse_bvh(text: str) -> Bvh:
    """Parse the text of a BVH file; ValueError says what is wrong with it."""
    head, found, tail = text.partition("MOTION")
    if not found:
        raise ValueError("it has no MOTION section")
    names, parents, offsets, channels = _parse_hierarchy(head)
    frames, frame_time, numbers = _parse_motion_header(tail)
    columns = sum(map(len, channels))
    if not columns:
        raise ValueError("no joint has channels")
    try:
        motion = np.array(numbers.split(), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"a frame holds something that is no number ({error})") from error
    if motion.size != frames * columns:
        raise ValueError(f"{frames} frames of {columns} channels make {frames * columns} numbers, not {motion.size}")
    if frames * len(names) > MAX_PLACES:
        raise ValueError(f"{frames} frames of {len(names)} joints are more than can be read at once")
    if not np.isfinite(motion).all() or not np.isfinite(offsets).all():
        raise ValueError("it holds nan or infinite numbers")
    return Bvh(names, parents, offsets, channels, motion.reshape(frames, columns), frame_time)


def _parse_hierarchy(text: str) -> tuple[tuple, tuple, np.ndarray, tuple]:
    names, parents, offsets, channels = [], [], [], []
    open_joints = []  # the path from the root to the joint whose braces are open
    words = iter(text.split())

    def take(count: int) -> list[str]:
        taken = list(islice(words, count))
        if len(taken) < count:
            raise ValueError("its HIERARCHY ends in the middle of a joint")
        return taken

    for word in words:
        if word in ("ROOT", "JOINT", "End"):
            # a name may hold spaces: it runs to the opening brace
            name = []
            while (part := take(1)[0]) != "{":
                name.append(part)
            # the names of nested End Sites grow with their depth
            if sum(map(len, name)) + len(name) > MAX_NAME or len(open_joints) > MAX_JOINTS // 4:
                raise ValueError(f"a joint's name is longer than {MAX_NAME} characters, or it lies too deep")
            parent = open_joints[-1] if open_joints else -1
            if word != "ROOT" and parent < 0:
                raise ValueError(f"{word} {' '.join(name)} stands outside a ROOT")
            if len(names) >= MAX_JOINTS:
                raise ValueError(f"it has more than {MAX_JOINTS} joints")
            open_joints.append(len(names))
            names.append(f"{names[parent]} end" if word == "End" else " ".join(name))
            parents.append(parent)
            offsets.append((0.0, 0.0, 0.0))
            channels.append(())
        elif word == "OFFSET" and open_joints:
            offsets[open_joints[-1]] = tuple(map(float, take(3)))
        elif word == "CHANNELS" and open_joints:
            count = int(take(1)[0])
            kinds = take(count) if 0 <= count <= 6 else [f"{count} of them"]
            if not set(kinds) <= _CHANNELS.keys():
                raise ValueError(f"unknown channels: {' '.join(kinds)}")
            channels[open_joints[-1]] = tuple(_CHANNELS[kind] for kind in kinds)
        elif word == "}" and open_joints:
            open_joints.pop()
        elif word != "HIERARCHY":
            raise ValueError(f"unexpected {word[:40]!r} in its HIERARCHY")
    if not names or open_joints:
        raise ValueError("its HIERARCHY has no joints" if not names else "a brace of its HIERARCHY is not closed")
    return tuple(names), tuple(parents), np.array(offsets), tuple(channels)


def _parse_motion_header(text: str) -> tuple[int, float, str]:
    """Number of frames, seconds a frame, and the text of the numbers."""
    _, found, rest = text.partition("Frames:")
    frames, found_time, rest = rest.partition("Frame Time:")
    frame_time, _, numbers = rest.lstrip().partition("\n")
    if not (found and found_time):
        raise ValueError("its MOTION section lacks 'Frames:' or 'Frame Time:'")
    if not frames.strip().isdigit() or int(frames) < 1:
        raise ValueError(f"its number of frames is {frames.strip()[:40]!r}")
    seconds = float(frame_time)
    if not 0 < seconds < 60:
        raise ValueError(f"its frame time is {seconds} s")
    return int(frames), seconds, numbers


def joint_positions(bvh: Bvh) -> np.ndarray:
    """World positions [F, J, 3], in the file's unit.

    A joint's rotations apply in the order of its channels, the first outermost. Position channels replace the OFFSET
    component by component, as Bandai-Namco's files and the usual root do.
    """
    frames = len(bvh.motion)
    positions = np.zeros((frames, len(bvh.names), 3))
    rotations = np.zeros((frames, len(bvh.names), 3, 3))
    column = 0
    for j, parent in enumerate(bvh.parents):
        local = np.tile(bvh.offsets[j], (frames, 1))
        turn = np.broadcast_to(np.eye(3), (frames, 3, 3))
        for kind, axis in bvh.channels[j]:
            values = bvh.motion[:, column]
            column += 1
            if kind == "position":
                local[:, axis] = values
            else:
                turn = turn @ _axis_rotation(axis, np.radians(values))
        if parent < 0:
            positions[:, j], rotations[:, j] = local, turn
        else:
            positions[:, j] = positions[:, parent] + np.einsum("fij,fj->fi", rotations[:, parent], local)
            rotations[:, j] = rotations[:, parent] @ turn
    return positions


def _axis_rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """[F, 3, 3] turning by angle [F] (radians) about x, y or z."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1.0
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i] = np.sin(angle)
    matrix[:, i, j] = -np.sin(angle)
    return matrix
