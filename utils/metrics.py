"""What motions are measured by (spec/evaluation.md 1): of embeddings, by the judge's eyes, and of joints.

Embeddings are [N, E], one motion or text a row. Joints are [T, J, 3] of one motion, in metres, y up, the floor at
y = 0. Everything is computed in float64. What is drawn is drawn from the generator that is given.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from dataset.spec import DatasetSpec

CONTACT_HEIGHT = 0.05  # metres above the floor under which a toe may be in contact
CONTACT_RISE = 0.2  # metres a second: a toe that rises or falls faster is not in contact
FLOOR_SHARE = 0.02  # the floor is below all but this share of a clip's toe heights: one wild frame does not move it


# --- Of embeddings ----------------------------------------------------------------------------------------------------


def fid(real: ArrayLike, generated: ArrayLike) -> float:
    """Fréchet distance of the Gaussians that fit embeddings [N, E] and [M, E]: |μ - μ'|² + tr(S + S' - 2 (S S')^½).

    With S = RᵀR the trace of the root is the sum of the singular values of R R'ᵀ: always real, no root is taken.
    Raises ValueError where N or M is not above E: such a covariance is singular and the number would mean nothing.
    """
    real, generated = _embeddings(real, "real"), _embeddings(generated, "generated")
    width = real.shape[1]
    if generated.shape[1] != width:
        raise ValueError(f"real embeddings are {width} wide, generated ones {generated.shape[1]}")
    for rows, name in ((real, "real"), (generated, "generated")):
        _need(width + 1, len(rows), f"{name} samples for a covariance of {width} numbers")
    shift = real.mean(axis=0) - generated.mean(axis=0)
    root, other = (np.linalg.qr(x - x.mean(axis=0), mode="r") / math.sqrt(len(x) - 1) for x in (real, generated))
    overlap = np.linalg.svd(root @ other.T, compute_uv=False).sum()
    return max(0.0, float((shift**2).sum() + (root**2).sum() + (other**2).sum() - 2 * overlap))


def r_precision(text: ArrayLike, motion: ArrayLike, top: int = 3, batch: int = 32) -> np.ndarray:
    """[top] shares of texts whose own motion is among the nearest 1, 2, ... of its batch.

    Rows [N, E] are taken in their order, `batch` at a time; the last incomplete batch does not count. Motions equally
    far share their places, so that embeddings that are all alike score what chance does.
    """
    text, motion = _pairs(text, motion)
    if not 1 <= top <= batch:
        raise ValueError(f"top must be 1 to {batch}, not {top}")
    _need(batch, len(text), f"pairs for a batch of {batch}")
    shares = []
    for first in range(0, len(text) - batch + 1, batch):
        distances = cdist(text[first : first + batch], motion[first : first + batch])  # [batch, batch]
        own = distances.diagonal()[:, None]
        nearer, alike = (distances < own).sum(axis=1), (distances == own).sum(axis=1)
        shares.append(np.clip((np.arange(1, top + 1) - nearer[:, None]) / alike[:, None], 0, 1))
    return np.concatenate(shares).mean(axis=0)


def matching_score(text: ArrayLike, motion: ArrayLike) -> float:
    """MM-Dist: mean distance of each text [N, E] from its motion [N, E]."""
    text, motion = _pairs(text, motion)
    return float(np.linalg.norm(text - motion, axis=-1).mean())


def diversity(embeddings: ArrayLike, pairs: int = 300, *, generator: np.random.Generator) -> float:
    """Mean distance of `pairs` different pairs of different rows [N, E]."""
    embeddings = _embeddings(embeddings, "the")
    first, second = _draw_pairs(len(embeddings), pairs, generator)
    return float(np.linalg.norm(embeddings[first] - embeddings[second], axis=-1).mean())


def multimodality(embeddings: ArrayLike, pairs: int = 10, *, generator: np.random.Generator) -> float:
    """Mean distance of `pairs` different pairs among the M motions of each text, embeddings [N, M, E]."""
    embeddings = _finite(embeddings, "the embeddings")
    if embeddings.ndim != 3 or not embeddings.size:
        raise ValueError(f"embeddings must be [texts, motions, width], not {list(embeddings.shape)}")
    return float(np.mean([diversity(motions, pairs, generator=generator) for motions in embeddings]))


def _draw_pairs(count: int, pairs: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of indices under `count`: pairs of different samples, no pair twice, all as likely."""
    if pairs < 1:
        raise ValueError(f"pairs must be 1 or more, not {pairs}")
    needed = (1 + math.isqrt(8 * pairs - 7)) // 2 + 1  # the least n of which n (n - 1) / 2 is enough
    _need(needed, count, f"samples for {pairs} different pairs")
    drawn = generator.choice(count * (count - 1) // 2, pairs, replace=False)
    return drawn % count, (drawn + drawn // count + 1) % count  # a sample, and the one so many places after it


def _embeddings(rows: ArrayLike, name: str) -> np.ndarray:
    rows = _finite(rows, f"{name} embeddings")
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"{name} embeddings must be [samples, width], not {list(rows.shape)}")
    return rows


def _pairs(text: ArrayLike, motion: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    text, motion = _embeddings(text, "text"), _embeddings(motion, "motion")
    if text.shape != motion.shape:
        raise ValueError(f"texts {list(text.shape)} and motions {list(motion.shape)} are no pairs")
    _need(1, len(text), "pairs")
    return text, motion


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} hold nan or infinite numbers")
    return values


def _need(needed: int, count: int, what: str) -> None:
    if count < needed:
        raise ValueError(f"too few samples: {needed} {what} are needed, there are {count}")


# --- Of joints --------------------------------------------------------------------------------------------------------


def contact_speeds(joints: ArrayLike, spec: DatasetSpec, fps: float | None = None) -> np.ndarray:
    """Horizontal speeds, in cm/s, of the toes in contact: one number for every foot and step of a frame.

    In contact is a toe that begins and ends the step near the floor and hardly rises or falls in it. Joints alone
    say so, the same way for real and generated motions. `fps`: the spec's, unless given.
    """
    joints, fps = _joints(joints, 2, spec), fps or spec.fps
    toes = joints[:, [spec.left_foot[1], spec.right_foot[1]]]  # [T, 2, 3]
    height = toes[..., 1] - np.quantile(toes[..., 1], FLOOR_SHARE)
    step = np.diff(toes, axis=0)
    low = np.maximum(height[1:], height[:-1]) < CONTACT_HEIGHT
    level = np.abs(step[..., 1]) * fps < CONTACT_RISE
    return 100 * fps * np.linalg.norm(step[..., [0, 2]], axis=-1)[low & level]


def foot_sliding(joints: ArrayLike, spec: DatasetSpec, fps: float | None = None) -> float:
    """Mean horizontal speed of feet in contact, cm/s; nan for a motion whose feet never are."""
    speeds = contact_speeds(joints, spec, fps)
    return float(speeds.mean()) if len(speeds) else math.nan


def jerk(joints: ArrayLike, fps: float) -> float:
    """Mean length of the joints' third derivative, m/s³: high where a motion trembles, low where it is blurred."""
    third = np.diff(_joints(joints, 4), n=3, axis=0) * fps**3
    return float(np.linalg.norm(third, axis=-1).mean())


def position_jumps(joints: ArrayLike) -> np.ndarray:
    """[T - 1] how far the joints go from each frame to the next, mm: the mean over joints [T, J, 3]."""
    return 1000 * np.linalg.norm(np.diff(_joints(joints, 2), axis=0), axis=-1).mean(axis=-1)


def velocity_jumps(joints: ArrayLike, fps: float) -> np.ndarray:
    """[T - 2] by how much the joints' velocities differ from each step to the next, m/s: the mean over joints."""
    return fps * np.linalg.norm(np.diff(_joints(joints, 3), n=2, axis=0), axis=-1).mean(axis=-1)


def seam_jumps(joints: ArrayLike, seams: Iterable[int], fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Jumps of position (mm) and of velocity (m/s) at seams, each before the frame that is named.

    The step over a seam is compared with the one before and the one after: the mean of the two. In real motion, which
    has no seams, the means of `position_jumps` and `velocity_jumps` are the same statistic. Raises ValueError for a
    seam without two frames on either side.
    """
    position, velocity = position_jumps(joints), velocity_jumps(joints, fps)
    at = np.fromiter(seams, dtype=int)
    if ((at < 2) | (at > len(position) - 1)).any():
        raise ValueError(f"a seam needs two frames on either side: frames 2 to {len(position) - 1}, not {at.tolist()}")
    return position[at - 1], (velocity[at - 2] + velocity[at - 1]) / 2


def floor_penetration(joints: ArrayLike, spec: DatasetSpec) -> float:
    """How far the lowest joint is below the floor, mm: the mean over all frames, those above it counting as 0."""
    lowest = _joints(joints, 1, spec)[..., 1].min(axis=-1)
    return float(1000 * np.maximum(0, -lowest).mean())


def mpjpe(joints: ArrayLike, target: ArrayLike, root_aligned: bool = False) -> float:
    """Mean distance of joints [T, J, 3] from the target's, mm; with the roots put together in every frame, or not."""
    joints, target = _joints(joints, 1), _joints(target, 1)
    if joints.shape != target.shape:
        raise ValueError(f"joints {list(joints.shape)} and target {list(target.shape)} differ in shape")
    difference = joints - target
    if root_aligned:
        difference = difference - difference[:, :1]
    return float(1000 * np.linalg.norm(difference, axis=-1).mean())


def _joints(joints: ArrayLike, least: int, spec: DatasetSpec | None = None) -> np.ndarray:
    """Joints in float64; ValueError for fewer than `least` frames or another skeleton than the spec's."""
    joints = _finite(joints, "joints")
    if joints.ndim != 3 or joints.shape[2] != 3 or (spec and joints.shape[1] != spec.joints):
        raise ValueError(f"joints must be [frames, {spec.joints if spec else 'joints'}, 3], not {list(joints.shape)}")
    if len(joints) < least:
        raise ValueError(f"too few frames: {least} are needed, there are {len(joints)}")
    return joints
