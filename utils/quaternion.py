"""Unit quaternions as arrays [..., 4] in the order w, x, y, z. NumPy, double precision."""

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product [..., 4]: the rotation b, then a."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        axis=-1,
    )


def inverse(q: np.ndarray) -> np.ndarray:
    """The opposite rotation of unit quaternions [..., 4]."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Turn vectors v [..., 3] by q [..., 4]; the leading axes broadcast."""
    w, u = q[..., :1], q[..., 1:]
    t = 2.0 * np.cross(u, v)
    return v + w * t + np.cross(u, t)


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest rotation [..., 4] that takes direction a to direction b (vectors [..., 3] of any length).

    Opposite directions have no shortest rotation: any half turn about an axis square to a serves, and one is chosen.
    A vector of no length has no direction: nothing turns then.
    """
    a, b = np.broadcast_arrays(a, b)
    a_length, b_length = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    nothing = (a_length == 0) | (b_length == 0)
    a = np.where(nothing, [1.0, 0.0, 0.0], a / np.where(nothing, 1.0, a_length))
    b = np.where(nothing, [1.0, 0.0, 0.0], b / np.where(nothing, 1.0, b_length))
    w = 1.0 + np.sum(a * b, axis=-1, keepdims=True)
    xyz = np.cross(a, b)
    # the axis of the half turn: a x whichever coordinate axis is least along a
    least = np.eye(3)[np.argmin(np.abs(a), axis=-1)]
    opposite = w < 1e-12
    q = np.concatenate((np.where(opposite, 0.0, w), np.where(opposite, np.cross(a, least), xyz)), axis=-1)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def to_matrix(q: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] whose columns are the turned axes."""
    return np.stack([rotate(q, axis) for axis in np.eye(3)], axis=-1)


def to_6d(q: np.ndarray) -> np.ndarray:
    """[..., 6]: the first column of the rotation matrix, then the second."""
    return np.concatenate((rotate(q, np.eye(3)[0]), rotate(q, np.eye(3)[1])), axis=-1)


def about_y(angle: np.ndarray) -> np.ndarray:
    """[..., 4] turning by `angle` [...] radians about the vertical."""
    half = np.asarray(angle) / 2
    zero = np.zeros_like(half)
    return np.stack((np.cos(half), zero, np.sin(half), zero), axis=-1)
