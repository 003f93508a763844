"""Metrics: golden numbers, closed forms, and second computations that share no formula with the first."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from dataset.spec import KIT, T2M
from tests.motions import standing, turned, walking
from utils.metrics import (
    contact_speeds,
    diversity,
    fid,
    floor_penetration,
    foot_sliding,
    jerk,
    matching_score,
    mpjpe,
    multimodality,
    position_jumps,
    r_precision,
    seam_jumps,
    velocity_jumps,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def with_moments(samples, mean, covariance, seed=0):
    """[N, E] samples whose mean and covariance are just these."""
    x = rng(seed).normal(size=(samples, len(mean)))
    x = x - x.mean(axis=0)
    whiten = np.linalg.inv(np.linalg.cholesky(np.cov(x.T)))
    return mean + x @ whiten.T @ np.linalg.cholesky(covariance).T


def test_golden_fid(golden):
    real, generated = golden["metric.real"], golden["metric.generated"]
    assert fid(real, generated) == pytest.approx(golden["metric.fid"].item(), abs=1e-4)
    assert fid(real.numpy(), generated.numpy()) == fid(real, generated)


def test_golden_matching(golden):
    text, motion = golden["metric.text32"], golden["metric.motion32"]
    assert (r_precision(text, motion) * 32).round(9).tolist() == golden["metric.rprec_counts"].tolist()
    assert matching_score(text, motion) * 32 == pytest.approx(golden["metric.match_sum"].item(), abs=1e-4)


# --- Fréchet distance -------------------------------------------------------------------------------------------------


def test_fid_of_gaussians_whose_covariances_commute():
    first, second = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    real = with_moments(50, np.zeros(3), np.diag(first))
    generated = with_moments(80, np.array([1.0, -2.0, 0.5]), np.diag(second), seed=1)
    expected = 1 + 4 + 0.25 + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert fid(real, generated) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_fid_of_any_gaussians_is_that_of_the_matrix_root(seed):
    draws = rng(seed)
    moments = [(draws.normal(size=12), np.cov(draws.normal(size=(12, 40)))) for _ in range(2)]
    (mean, s), (other, t) = moments
    trace = np.trace(s + t - 2 * sqrtm(s @ t).real)
    real, generated = with_moments(30, mean, s, seed), with_moments(90, other, t, seed + 9)
    assert fid(real, generated) == pytest.approx(((mean - other) ** 2).sum() + trace, rel=1e-9)


def test_fid_of_shifted_and_of_scaled_copies():
    x = rng().normal(size=(600, 64)) * np.logspace(-3, 3, 64)
    variance = x.var(axis=0, ddof=1).sum()
    assert 0 <= fid(x, x) < 1e-12 * variance
    shift = rng(1).normal(size=64)
    assert fid(x, x[::-1] + shift) == pytest.approx((shift**2).sum(), abs=1e-12 * variance)
    centred = x - x.mean(axis=0)
    assert fid(centred, 3 * centred) == pytest.approx(4 * variance, rel=1e-12)


def test_fid_does_not_mind_order_sides_or_turns():
    real, generated = rng().normal(size=(40, 8)), 2 * rng(1).normal(size=(50, 8)) ** 2
    value = fid(real, generated)
    rotation = np.linalg.qr(rng(2).normal(size=(8, 8)))[0]
    assert fid(generated, real) == pytest.approx(value)
    assert fid(rng(3).permutation(real), generated[::-1]) == pytest.approx(value)
    assert fid(real @ rotation, generated @ rotation) == pytest.approx(value)
    flat = np.concatenate((real, np.ones((40, 1))), axis=1)  # a number that never varies takes no root out of its way
    assert fid(flat, np.concatenate((generated, np.ones((50, 1))), axis=1)) == pytest.approx(value)


def test_fid_of_too_few_samples_says_how_many_are_needed():
    enough, few = rng().normal(size=(17, 16)), rng().normal(size=(16, 16))
    assert fid(enough, enough) < 1e-9
    for pair, name in (((few, enough), "real"), ((enough, few), "generated")):
        with pytest.raises(ValueError, match=f"17 {name} samples .* are needed, there are 16"):
            fid(*pair)


# --- Texts and motions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [5, 32])
def test_r_precision_is_what_sorting_gives(batch):
    text = rng().normal(size=(3 * batch + batch - 1, 6))
    motion = text + rng(1).normal(size=text.shape)
    hits = np.zeros(4)
    for first in range(0, 3 * batch, batch):
        for i in range(first, first + batch):
            order = sorted(range(first, first + batch), key=lambda j: math.dist(text[i], motion[j]))
            hits += order.index(i) < np.arange(1, 5)
    assert r_precision(text, motion, top=4, batch=batch) == pytest.approx(hits / (3 * batch))


def test_r_precision_of_perfect_swapped_and_collapsed_pairs():
    text = 10 * rng().normal(size=(64, 5))
    assert r_precision(text, text).tolist() == [1, 1, 1]
    swapped = text.reshape(32, 2, 5)[:, ::-1].reshape(64, 5)
    assert r_precision(text, swapped, top=2)[0] == 0
    assert r_precision(text, np.ones((64, 5))) == pytest.approx(np.arange(1, 4) / 32)  # chance
    assert r_precision(text, text, top=1, batch=64).tolist() == [1]
    twins = text.copy()
    twins[1] = twins[0]  # two equal motions share the first place
    assert r_precision(twins, twins) == pytest.approx([63 / 64, 1, 1])


def test_matching_score_is_the_mean_distance():
    text, motion = rng().normal(size=(2, 9, 4))
    assert matching_score(text, motion) == pytest.approx(np.mean([math.dist(a, b) for a, b in zip(text, motion)]))
    assert matching_score(text, text + [3, 0, 4, 0]) == pytest.approx(5)


@pytest.mark.parametrize("metric", [r_precision, matching_score])
def test_pairs_that_are_none(metric):
    with pytest.raises(ValueError, match="no pairs"):
        metric(np.zeros((40, 4)), np.zeros((39, 4)))
    with pytest.raises(ValueError, match=r"\[samples, width\]"):
        metric(np.zeros(40), np.zeros(40))
    with pytest.raises(ValueError, match="motion embeddings hold nan"):
        metric(np.zeros((40, 4)), np.full((40, 4), np.nan))
    with pytest.raises(ValueError, match="are needed, there are 0"):
        metric(np.zeros((0, 4)), np.zeros((0, 4)))


def test_r_precision_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match=r"32 pairs .* there are 31"):
        r_precision(np.zeros((31, 4)), np.zeros((31, 4)))
    for top in (0, 33):
        with pytest.raises(ValueError, match="top must be 1 to 32"):
            r_precision(np.zeros((32, 4)), np.zeros((32, 4)), top=top)


# --- Spread -----------------------------------------------------------------------------------------------------------


@given(count=st.integers(2, 40), data=st.data())
def test_diversity_draws_different_pairs_and_never_a_sample_with_itself(count, data):
    everything = count * (count - 1) // 2
    pairs = data.draw(st.integers(1, everything))
    one_hot = np.eye(count)  # any two rows are √2 apart; a row with itself would lower the mean
    assert diversity(one_hot, pairs, generator=rng(data.draw(st.integers(0, 9)))) == pytest.approx(math.sqrt(2))
    points = rng().normal(size=(count, 3))
    mean = np.mean([math.dist(points[i], points[j]) for i in range(count) for j in range(i)])
    assert diversity(points, everything, generator=rng()) == pytest.approx(mean)  # each pair once


def test_diversity_says_how_many_samples_its_pairs_need():
    for pairs in range(1, 400):
        needed = next(n for n in range(2, 99) if n * (n - 1) // 2 >= pairs)
        assert diversity(np.eye(needed), pairs, generator=rng()) == pytest.approx(math.sqrt(2))
        with pytest.raises(ValueError, match=f"{needed} samples .* there are {needed - 1}"):
            diversity(np.eye(needed - 1), pairs, generator=rng())
    with pytest.raises(ValueError, match="pairs must be 1 or more"):
        diversity(np.eye(9), 0, generator=rng())


def test_draws_are_those_of_the_generator_and_fair():
    x = rng().normal(size=(400, 8))
    assert diversity(x, generator=rng(5)) == diversity(x, generator=rng(5))
    assert diversity(x, generator=rng(5)) != diversity(x, generator=rng(6))
    draws = rng()
    means = [diversity(x, generator=draws) for _ in range(200)]
    every = np.linalg.norm(x[:, None] - x[None], axis=-1).sum() / (400 * 399)
    assert np.mean(means) == pytest.approx(every, abs=4 * np.std(means) / math.sqrt(200))


def test_multimodality_is_the_spread_within_each_text():
    x = rng().normal(size=(6, 5, 3))
    x[:3] = x[:3, :1]  # texts of which all motions are alike
    expected = np.mean(
        [
            [math.dist(one[i], one[j]) for i in range(5) for j in range(i)]
            for one in x + 1e3 * np.arange(6)[:, None, None]
        ]
    )
    assert multimodality(x, pairs=10, generator=rng()) == pytest.approx(expected)
    assert multimodality(x[:3], pairs=4, generator=rng()) == 0
    assert multimodality(np.eye(11)[None], generator=rng()) == pytest.approx(math.sqrt(2))
    with pytest.raises(ValueError, match="5 samples for 10 different pairs are needed, there are 4"):
        multimodality(x[:, :4], generator=rng())
    with pytest.raises(ValueError, match=r"\[texts, motions, width\]"):
        multimodality(x[0], generator=rng())


# --- Joints -----------------------------------------------------------------------------------------------------------


def metres(joints, spec):
    return joints * spec.metres_per_unit


@pytest.mark.parametrize("spec", [T2M, KIT])
@pytest.mark.parametrize("speed", [0.0, 0.3])
def test_feet_of_a_body_that_glides_slide_at_its_speed(spec, speed):
    joints = metres(standing(spec), spec)
    joints = joints + speed / spec.fps * np.arange(len(joints))[:, None, None] * [0.6, 0.0, 0.8]
    assert foot_sliding(joints, spec) == pytest.approx(100 * speed, abs=1e-9)
    assert foot_sliding(joints, spec, fps=2 * spec.fps) == pytest.approx(200 * speed, abs=1e-9)
    assert len(contact_speeds(joints, spec)) == 2 * (len(joints) - 1)


def test_only_feet_on_the_floor_count():
    joints = standing(T2M)
    sliding = joints.copy()
    sliding[:, T2M.left_foot[1], 0] += 0.5 / T2M.fps * np.arange(len(joints))
    assert foot_sliding(sliding, T2M) == pytest.approx(25)  # one of two
    sliding[:, T2M.left_foot[1], 1] += 0.06  # lifted
    assert foot_sliding(sliding, T2M) == pytest.approx(0)
    assert len(contact_speeds(sliding, T2M)) == len(joints) - 1
    falling = joints - 0.3 / T2M.fps * np.arange(len(joints))[:, None, None] * [0, 1, 0]
    assert math.isnan(foot_sliding(falling, T2M))


def test_feet_neither_know_where_the_body_is_nor_which_way_it_faces():
    joints = walking(T2M)
    moved = turned(joints, 0.7) + [3.0, 0.5, -2.0]
    assert foot_sliding(moved, T2M) == pytest.approx(foot_sliding(joints, T2M))
    assert jerk(moved, T2M.fps) == pytest.approx(jerk(joints, T2M.fps))


def test_jerk_of_polynomials_and_of_trembling():
    time = np.arange(30)[:, None, None] / 20
    direction = rng().normal(size=(1, 22, 3))
    assert jerk((2 * time**2 - time + 1) * direction, 20) == pytest.approx(0, abs=1e-6)
    cubic = jerk((2 * time**3 + time) * direction, 20)
    assert cubic == pytest.approx(12 * np.linalg.norm(direction, axis=-1).mean())
    joints = walking(T2M)
    assert jerk(joints + 0.005 * rng().normal(size=joints.shape), 20) > 1.5 * jerk(joints, 20)
    with pytest.raises(ValueError, match="4 are needed, there are 3"):
        jerk(joints[:3], 20)


def test_floor_penetration_is_the_depth_of_the_lowest_joint():
    joints = standing(T2M)
    joints[..., 1] -= joints[..., 1].min()
    assert floor_penetration(joints, T2M) == 0
    assert floor_penetration(joints + [0, 0.2, 0], T2M) == 0
    joints[:15, :, 1] -= 0.04  # a quarter of the frames
    assert floor_penetration(joints, T2M) == pytest.approx(10)


def test_mpjpe_is_the_mean_distance_in_millimetres():
    joints = walking(T2M)
    assert mpjpe(joints, joints) == 0
    moved = joints + [0.03, 0.0, -0.04]
    assert mpjpe(moved, joints) == pytest.approx(50)
    assert mpjpe(moved, joints, root_aligned=True) == pytest.approx(0, abs=1e-9)
    bent = joints.copy()
    bent[:, 20, 1] += 0.022
    assert mpjpe(bent, joints) == pytest.approx(1) == mpjpe(bent, joints, root_aligned=True)
    with pytest.raises(ValueError, match="differ in shape"):
        mpjpe(joints[:-1], joints)


def test_joints_that_are_none():
    joints = walking(T2M)
    for metric in (lambda x: foot_sliding(x, KIT), lambda x: floor_penetration(x, KIT)):
        with pytest.raises(ValueError, match=r"\[frames, 21, 3\], not \[60, 22, 3\]"):
            metric(joints)
    with pytest.raises(ValueError, match="nan"):
        jerk(joints * np.nan, 20)
    with pytest.raises(ValueError, match="2 are needed, there are 1"):
        foot_sliding(joints[:1], T2M)
    with pytest.raises(ValueError, match="1 are needed, there are 0"):
        floor_penetration(joints[:0], T2M)


# --- Seams


def test_jumps_of_joints_that_glide_and_of_those_that_leap():
    """A glide at 0.1 m a frame has no jump of velocity; one frame's leap has two, there and back."""
    glide = np.zeros((20, 3, 3))
    glide[..., 0] = 0.1 * np.arange(20)[:, None]
    np.testing.assert_allclose(position_jumps(glide), np.full(19, 100))
    np.testing.assert_allclose(velocity_jumps(glide, 20), np.zeros(18), atol=1e-9)
    leap = glide.copy()
    leap[10:, :, 1] += 0.3  # all joints, 0.3 m up between frames 9 and 10: a seam before frame 10
    position, velocity = seam_jumps(leap, [10, 5, 12], 20)
    np.testing.assert_allclose(position, [1000 * math.hypot(0.1, 0.3), 100, 100])
    np.testing.assert_allclose(velocity, [0.3 * 20, 0, 0], atol=1e-9)
    leap[10:, 1:, 1] -= 0.3  # now one joint of three
    np.testing.assert_allclose(seam_jumps(leap, [10], 20)[1], [0.3 * 20 / 3])


def test_jumps_everywhere_are_those_of_seams_everywhere():
    joints = np.cumsum(rng().normal(size=(50, 4, 3)), axis=0)
    position, velocity = seam_jumps(joints, range(2, 49), 20)
    np.testing.assert_allclose(position, position_jumps(joints)[1:-1])
    np.testing.assert_allclose(velocity.mean(), velocity_jumps(joints, 20).mean(), rtol=0.05)
    # the second difference of white steps of variance 1 on each axis has variance 2: a Maxwell distribution's mean
    assert velocity_jumps(np.cumsum(rng().normal(size=(20_000, 1, 3)), axis=0), 1).mean() == pytest.approx(
        2 * math.sqrt(2 / math.pi) * math.sqrt(2), rel=0.01
    )


@pytest.mark.parametrize("seam", [0, 1, 19, 20])
def test_seams_at_the_ends(seam):
    with pytest.raises(ValueError, match="frames 2 to 18"):
        seam_jumps(np.zeros((20, 3, 3)), [5, seam], 20)
