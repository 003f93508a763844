"""Confidence-ordered parallel decoding (spec/model.md 3): from MASK to motion in a handful of steps.

`sample` takes any callable that gives logits [B, L, K] for ids [B, L]. A row's result depends on nothing else in the
batch: it stops by itself and draws from a generator of its own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.ids import mask_id

LONGEST = 49  # tokens: the length that takes all the steps


def rounds_of(length: int, steps: int) -> int:
    """S of the schedule: steps in proportion to the length, at least one."""
    return max(1, round(steps * length / LONGEST))


def masked_count(iteration: int, rounds: int, to_fill: int) -> int:
    """How many ids are MASK at an iteration: a quarter cosine from all of them down to one.

    In float32, as published: cos(pi / 3) is just under a half there, and the count one less than in double precision.
    """
    share = torch.cos(torch.tensor(math.pi / 2 * min(iteration / rounds, 1.0), dtype=torch.float32))
    return max(1, math.floor(share * to_fill))


class Picks(NamedTuple):
    """Where ids are due at one iteration: n of them, in R rows of the batch that are not done yet."""

    rows: Tensor  # [R] which rows these are
    row: Tensor  # [n] the row of each pick: a place in `rows`
    position: Tensor  # [n] and its position there


@torch.no_grad()
def sample(
    logits_fn: Callable[..., Tensor],
    given_ids: Tensor,
    lengths: Tensor,
    codes: int,
    steps: int = 10,
    temperature: float = 1.0,
    generators: list[torch.Generator] | None = None,
    at_picks: bool = False,
    order_noise: float = 0.0,
) -> Tensor:
    """Fill in every MASK of rows given_ids [B, L]; ids that are given stay.

    logits_fn takes ids [B, L] and gives logits [B, L, K]; with `at_picks` it takes the ids [R, L] of the rows that are
    not done yet and `Picks`, and gives logits [n, K]. lengths [B]: motion tokens of each row. temperature 0 takes the
    likeliest id and leaves nothing to chance. generators: one for each row (CPU); without them the rows draw from
    fresh ones, seeded 0, 1, 2 ... order_noise: how much chance there is in which ids stay: Gumbel noise on the
    logarithm of their confidence, this large at first and none in the end. As published there is none, and the surest
    ids stay; but those of a body at rest are surest of all, and a wave may end up as a raised hand.
    Raises ValueError for a negative temperature or noise.

    All that the host decides, it decides before the first iteration: on a GPU, none waits for another to end.
    """
    if temperature < 0:
        raise ValueError(f"the temperature must be 0 or more, not {temperature}")
    if order_noise < 0:
        raise ValueError(f"the noise of the order must be 0 or more, not {order_noise}")
    ids, mask, device = given_ids.clone(), mask_id(codes), given_ids.device
    free = ids == mask  # [B, L]
    to_fill, tokens = free.sum(dim=1).tolist(), lengths.tolist()
    rounds = [rounds_of(length, steps) for length in tokens]
    last = [min(steps, s + 1) if fill else 0 for s, fill in zip(rounds, to_fill)]  # iterations of each row
    plan = _plan(rounds, to_fill, last)
    if generators is None:
        generators = [torch.Generator().manual_seed(row) for row in range(len(tokens))]
    uniform = _uniform(generators, last, tokens, ids.shape[1]).to(device) if temperature else None
    noise = (
        _order_noise(generators, last, tokens, rounds, ids.shape[1]).to(device) if order_noise and temperature else None
    )
    plan = [tuple(torch.tensor(part, device=device) for part in parts) for parts in plan]
    # how unsure what was just filled in is; what is sure may not be masked again
    sure = -torch.inf
    score = torch.where(free, 1.0, sure)

    for iteration, (rows, row, rank) in enumerate(plan):
        position = score[rows].argsort(dim=1, descending=True, stable=True)[row, rank]
        where = rows[row], position  # [n] of the batch
        ids[where] = mask
        logits = logits_fn(ids[rows], Picks(rows, row, position)) if at_picks else logits_fn(ids)[where]
        logits = logits.float()  # [n, K]
        chance = logits.softmax(dim=-1)
        if temperature:
            drawn_from = chance if temperature == 1 else (logits / temperature).softmax(dim=-1)
            pick = _draw(drawn_from, uniform[iteration][where])
        else:
            pick = logits.argmax(dim=-1)
        ids[where] = pick
        confidence = chance.gather(-1, pick[:, None])[:, 0]
        score.fill_(sure)
        score[where] = 1 - confidence if noise is None else -confidence.log() - order_noise * noise[iteration][where]
    return ids


def _plan(rounds: list[int], to_fill: list[int], last: list[int]) -> list[tuple[list[int], list[int], list[int]]]:
    """What is masked at each iteration: the rows that are not done, then of each pick its place among these rows and
    its rank among the row's scores.
    """
    plan = []
    for iteration in range(max(last, default=0)):
        rows = [row for row, end in enumerate(last) if iteration < end]
        counts = [masked_count(iteration, rounds[row], to_fill[row]) for row in rows]
        places = [(i, rank) for i, count in enumerate(counts) for rank in range(count)]
        plan.append((rows, *map(list, zip(*places))))
    return plan


def _uniform(generators: list[torch.Generator], iterations: list[int], lengths: list[int], longest: int) -> Tensor:
    """Numbers [iterations, B, longest] from 0 up to 1, one for each pick there may be.

    A row draws for its own iterations and length alone: its draws do not depend on the rest of the batch.
    """
    drawn = torch.zeros(max(iterations, default=0), len(lengths), longest)
    for row, (generator, count, length) in enumerate(zip(generators, iterations, lengths)):
        drawn[:count, row, :length] = torch.rand(count, length, generator=generator)
    return drawn


def _order_noise(
    generators: list[torch.Generator], iterations: list[int], lengths: list[int], rounds: list[int], longest: int
) -> Tensor:
    """Gumbel noise [iterations, B, longest] that a row's rounds take down to nothing."""
    uniform = _uniform(generators, iterations, lengths, longest).clamp(min=1e-12)
    done = torch.arange(len(uniform))[:, None] / torch.tensor(rounds)  # [iterations, B]
    return (1 - done).clamp(min=0)[..., None] * -(-uniform.log()).log()


def _draw(chance: Tensor, uniform: Tensor) -> Tensor:
    """Ids [n] drawn from chances [n, K] by numbers [n] from 0 up to 1: the first at which the sum of chances is above
    the number, taken as a share of the whole sum (which rounding may leave a little beside 1).
    """
    below = chance.cumsum(dim=-1)
    found = torch.searchsorted(below, (uniform * below[:, -1])[:, None], right=True)[:, 0]
    return found.clamp(max=chance.shape[1] - 1)  # of chances that are not numbers: any id
