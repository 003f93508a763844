"""Quaternion arithmetic against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from utils import quaternion


def drawn(count: int, seed: int) -> tuple[np.ndarray, Rotation]:
    """Random rotations, as w x y z and as scipy's."""
    rotations = Rotation.random(count, rng=np.random.default_rng(seed))
    return rotations.as_quat(scalar_first=True), rotations


def vectors(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3))


def test_multiply_applies_the_right_one_first():
    (a, ra), (b, rb) = drawn(50, 0), drawn(50, 1)
    product = Rotation.from_quat(quaternion.multiply(a, b), scalar_first=True)
    np.testing.assert_allclose(product.as_matrix(), (ra * rb).as_matrix(), atol=1e-12)


def test_rotate_inverse_matrix_and_6d():
    (q, rotation), v = drawn(50, 2), vectors(50, 3)
    matrix = rotation.as_matrix()
    np.testing.assert_allclose(quaternion.rotate(q, v), rotation.apply(v), atol=1e-12)
    np.testing.assert_allclose(quaternion.rotate(quaternion.inverse(q), v), rotation.inv().apply(v), atol=1e-12)
    np.testing.assert_allclose(quaternion.to_matrix(q), matrix, atol=1e-12)
    np.testing.assert_allclose(quaternion.to_6d(q), np.concatenate((matrix[..., 0], matrix[..., 1]), -1), atol=1e-12)


def test_about_y():
    angles = np.linspace(-7, 7, 29)
    turned = quaternion.rotate(quaternion.about_y(angles), np.array([0.3, 0.5, 1.0]))
    np.testing.assert_allclose(
        turned, Rotation.from_rotvec(np.outer(angles, [0, 1, 0])).apply([0.3, 0.5, 1.0]), atol=1e-12
    )


def test_leading_axes_broadcast():
    (q, rotation), v = drawn(6, 4), vectors(5, 5)
    turned = quaternion.rotate(q[:, None], v)
    assert turned.shape == (6, 5, 3)
    np.testing.assert_allclose(turned[4], rotation[4].apply(v), atol=1e-12)


def test_between_is_the_shortest_rotation():
    a, b = vectors(200, 6) * 3, vectors(200, 7) * 0.1
    q = quaternion.between(a, b)
    unit_a, unit_b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    np.testing.assert_allclose(quaternion.rotate(q, unit_a), unit_b, atol=1e-12)
    magnitude = Rotation.from_quat(q, scalar_first=True).magnitude()
    np.testing.assert_allclose(magnitude, np.arccos(np.sum(unit_a * unit_b, axis=-1)), atol=1e-7)


@settings(max_examples=100)
@given(
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3),
    st.sampled_from([0.0, 1e-16, 1e-13, 1e-9, 1e-7, 1e-5, 1e-3]),
    st.sampled_from([-1.0, 1.0]),
)
def test_between_same_and_opposite_directions(direction, nudge, sign):
    a = np.array(direction) / np.linalg.norm(direction)
    b = sign * a + nudge * np.array([0.3, -0.5, 0.8])
    q = quaternion.between(a, b)
    assert np.linalg.norm(q) == pytest.approx(1)
    np.testing.assert_allclose(quaternion.rotate(q, a), b / np.linalg.norm(b), atol=1e-5)


def test_between_axes():
    axes = np.concatenate((np.eye(3), -np.eye(3)))
    q = quaternion.between(axes[:, None], axes[None])
    np.testing.assert_allclose(quaternion.rotate(q, axes[:, None]), np.broadcast_to(axes, (6, 6, 3)), atol=1e-12)
