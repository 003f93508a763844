"""Confidence-ordered parallel decoding (spec/model.md 3): from MASK to motion in a handful of steps.

`sample` takes any callable that gives logits [B, L, K] for ids [B, L]. A row's result depends on nothing else in the
batch: it stops by itself and draws from a generator of its own.
"""

import math
from collections.abc import Callable

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


@torch.no_grad()
def sample(
    logits_fn: Callable[[Tensor], Tensor],
    given_ids: Tensor,
    lengths: Tensor,
    codes: int,
    steps: int = 10,
    temperature: float = 1.0,
    generators: list[torch.Generator] | None = None,
) -> Tensor:
    """Fill in every MASK of rows given_ids [B, L]; ids that are given stay.

    lengths [B]: motion tokens of each row. temperature 0 takes the likeliest id. generators: one for each row (CPU);
    without them the rows draw from fresh ones, seeded 0, 1, 2 ... Raises ValueError for a negative temperature.
    """
    if temperature < 0:
        raise ValueError(f"the temperature must be 0 or more, not {temperature}")
    ids, mask = given_ids.clone(), mask_id(codes)
    free = ids == mask  # [B, L]
    to_fill = free.sum(dim=1).tolist()
    rounds = [rounds_of(length, steps) for length in lengths.tolist()]
    last = [min(steps, s + 1) if fill else 0 for s, fill in zip(rounds, to_fill)]  # iterations of each row
    if temperature and generators is None:
        generators = [torch.Generator().manual_seed(row) for row in range(len(ids))]
    score = free.float()  # 1 - confidence of what was just filled in; 0 may not be masked again

    for iteration in range(max(last, default=0)):
        going_on = [iteration < end for end in last]
        active = torch.tensor(going_on, device=ids.device)[:, None]
        count = [masked_count(iteration, s, fill) for s, fill in zip(rounds, to_fill)]
        count = torch.tensor(count, device=ids.device)[:, None]
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        masked = (rank < count) & free & active
        ids = ids.masked_fill(masked, mask)
        logits = logits_fn(ids).float()
        if temperature:
            drawn = [length if on else 0 for length, on in zip(lengths.tolist(), going_on)]
            pick = (logits / temperature + _gumbel(generators, drawn, logits)).argmax(dim=-1)
        else:
            pick = logits.argmax(dim=-1)
        ids = torch.where(masked, pick, ids)
        confidence = logits.softmax(dim=-1).gather(-1, pick[..., None])[..., 0]
        score = torch.where(masked, 1 - confidence, 0.0)
    return ids


def _gumbel(generators: list[torch.Generator], lengths: list[int], logits: Tensor) -> Tensor:
    """Noise [B, L, K] whose sum with logits is largest at a draw from their softmax.

    A row draws for its own length alone, so that its draws do not depend on the longest row of the batch.
    """
    noise = torch.zeros(logits.shape)
    for row, generator, length in zip(noise, generators, lengths):
        row[:length] = -torch.empty(length, logits.shape[-1]).exponential_(generator=generator).log_()
    return noise.to(logits.device)
