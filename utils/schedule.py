"""The learning rate as a function of the step."""

import math


def learning_rate(
    step: int, peak: float, warm_up: int, milestones: tuple[int, ...], gamma: float, cosine_until: int | None = None
) -> float:
    """Linear warm-up to `peak`, then times `gamma` at each milestone; or a half cosine that ends at `cosine_until`."""
    if step < warm_up:
        return peak * step / warm_up
    if cosine_until is not None:
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, cosine_until - warm_up)))
    return peak * gamma ** sum(step >= milestone for milestone in milestones)
