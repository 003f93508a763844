"""The learning rate, step by step."""

import math

import pytest

from utils.schedule import learning_rate


def test_warm_up_and_milestones():
    def at(step):
        return learning_rate(step, peak=1.0, warm_up=10, milestones=(100, 200), gamma=0.1)

    assert [at(step) for step in (0, 1, 5, 9)] == pytest.approx([0, 0.1, 0.5, 0.9])
    assert [at(step) for step in (10, 11, 99)] == [1.0] * 3
    assert [at(step) for step in (100, 199, 200, 10**6)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_no_warm_up():
    assert learning_rate(0, 2e-4, 0, (), 0.05) == 2e-4


def test_published_schedule():
    rates = [learning_rate(step, 2e-4, 1000, (200_000,), 0.05) for step in (500, 1000, 199_999, 200_000, 300_000)]
    assert rates == pytest.approx([1e-4, 2e-4, 2e-4, 1e-5, 1e-5])


def test_cosine():
    def at(step):
        return learning_rate(step, peak=3.0, warm_up=10, milestones=(20,), gamma=0.1, cosine_until=110)

    assert [at(step) for step in (5, 10, 60, 110)] == pytest.approx([1.5, 3.0, 1.5, 0.0], abs=1e-9)
    assert at(35) == pytest.approx(3 * (1 + math.sqrt(0.5)) / 2)
    falls = [at(step) for step in range(10, 111)]
    assert falls == sorted(falls, reverse=True)
