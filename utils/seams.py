"""Where frames that were kept and frames that were made meet, in features (spec/data.md 2, spec/model.md 4).

Axes: T frames, D features, J joints. Root features are velocities: the row of a frame says how the root goes on to the
next one.
"""

import math

import numpy as np
import torch
from torch import Tensor

from dataset.spec import DatasetSpec
from utils.motion import features_to_joints, root_path, turn

BLEND = 12  # frames over which made frames are led from and to kept ones
SLOPE_BLEND = (
    4  # frames over which their speed is: a difference of speed that went on for longer would carry a foot away
)


def ranges_of(mask: Tensor | np.ndarray) -> list[tuple[int, int]]:
    """First and end (not included) of every run of True in a mask [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.asarray(mask), [False])).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def hide_frames(joints: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Joints [T + 1, J, 3] of joints [T, J, 3] in which nothing of the hidden [T] (bool) frames is left.

    Features of a frame depend on the next frame and, through the smoothed heading, on forty more on either side. So
    what is hidden is replaced before they are computed: by the nearest kept frame, moved on as it moved where it leads
    into what is hidden. One frame is added at the end in the same way, so that features of every frame come out.
    """
    gone = np.append(np.asarray(hidden, dtype=bool), True)
    shown = np.append(joints, joints[-1:], axis=0)
    for first, end in ranges_of(gone):
        before, after = first > 0, end < len(gone)
        middle = (first + end + 1) // 2 if after else end
        if before:
            moved = joints[first - 1] - joints[first - 2] if first > 1 and not gone[first - 2] else 0.0
            shown[first:middle] = joints[first - 1] + moved
        if after:
            shown[middle if before else first : end] = joints[end]
    return shown


def join_kept(source: Tensor, made: Tensor, generated: Tensor, spec: DatasetSpec, blend: int = BLEND) -> Tensor:
    """Features [T, D]: those of `source` where frames were kept, else those of `made`, led from and to the kept ones.

    At a seam the decoder's version of a kept frame is a little off the frame itself. That difference is added to the
    made frames, fading over `blend` of them along a quintic, and so is the difference's own slope, fading sooner, along
    one that begins without a bend: places and speeds go on without a jump, and no kept frame changes. `made` has all
    frames, the kept ones as decoded.
    """
    joined = torch.where(generated[:, None], made, source)
    smooth = torch.ones(spec.dim)  # whose slope counts too: places, not what is a speed already
    smooth[[0, 1, 2]] = 0.0
    smooth[spec.velocity_slice] = 0.0
    for first, end in ranges_of(generated):
        span = min(blend, end - first)
        if not span:
            continue
        t = _fractions(span, span)
        fade = 1 - 10 * t**3 + 15 * t**4 - 6 * t**5
        short = min(SLOPE_BLEND, span)
        t = _fractions(short, span)
        slope = (t - 6 * t**3 + 8 * t**4 - 3 * t**5) * (short + 1) * smooth
        for edge, inwards in ((first - 1, 1), (end, -1)):
            if not 0 <= edge < len(source):
                continue
            off = source[edge] - made[edge]
            drift = torch.zeros_like(off)
            if 0 <= edge - inwards < len(source) and not generated[edge - inwards]:
                drift = off - (source[edge - inwards] - made[edge - inwards])
            change = fade * off + slope * drift
            change[:, spec.contact_slice] = 0.0  # a contact is a yes or a no: half of one means nothing
            rows = edge + inwards * torch.arange(1, span + 1)
            joined[rows] += change
    return joined


def _fractions(end: int, size: int) -> Tensor:
    """[size, 1]: how much of the way to the frame after `end` frames is gone at frames 1, 2, ...; 1 from there on."""
    return (torch.arange(1, size + 1)[:, None] / (end + 1)).clamp(max=1)


def bend_root(features: Tensor, source: Tensor, first: int, end: int, spec: DatasetSpec) -> Tensor:
    """Features [T, D] whose frames first..end are bent so that frame `end` stands and faces as it does in `source`.

    The turn that is missing, then the way, are spread over the frames as a bump that begins and ends at nothing, so
    that neither seam feels it.
    """
    weight = 1 - torch.cos(2 * math.pi * (torch.arange(end - first) + 0.5) / (end - first))
    weight = (weight / weight.sum())[:, None]
    there, place = (value[end] for value in root_path(source))
    bent = features.clone()
    missing = torch.remainder(there - root_path(bent)[0][end] + math.pi, 2 * math.pi) - math.pi
    bent[first:end, 0:1] += weight * missing / 2
    yaw, path = root_path(bent)
    # a root velocity is given in the heading of the frame that it leads to
    bent[first:end, 1:3] += turn(weight * (place - path[end]), -yaw[first + 1 : end + 1], shift=0)
    joints = features_to_joints(bent, spec)
    steps = joints[first + 1 : end + 1] - joints[first:end]
    across = turn(steps[..., [0, 2]], -yaw[first:end, None], shift=0)
    steps = torch.stack((across[..., 0], steps[..., 1], across[..., 1]), dim=-1)
    bent[first:end, spec.velocity_slice] = steps.flatten(1)
    return bent


def stand_on(joints: np.ndarray, poses: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Joints [T, J, 3] turned and moved over the floor as brings `poses` [N, J, 3] nearest to those of `onto`."""
    middle, place = (p.mean(axis=(0, 1)) * (1, 0, 1) for p in (poses, onto))
    a, b = ((p - centre)[..., [0, 2]] for p, centre in ((poses, middle), (onto, place)))
    # the angle about y of the best fit of one to the other
    angle = math.atan2((a[..., 1] * b[..., 0] - a[..., 0] * b[..., 1]).sum(), (a * b).sum())
    cos, sin = math.cos(angle), math.sin(angle)
    x, y, z = np.moveaxis(joints - middle, -1, 0)
    return np.stack((cos * x + sin * z, y, cos * z - sin * x), axis=-1) + place
