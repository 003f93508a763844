"""What stage 2's training does to a row of motion ids before the transformer sees it (spec/model.md 2).

Axes: B batch, L ids of a row. Every draw comes from the generator that is given.
"""

import torch
from torch import Tensor

from models.ids import mask_id


def replace_at_random(ids: Tensor, motion: Tensor, codes: int, pkeep: float, generator: torch.Generator) -> Tensor:
    """Each motion id (`motion` [B, L]) becomes a random code with probability 1 - pkeep; -1 draws pkeep per batch."""
    if pkeep == -1:
        pkeep = torch.rand((), generator=generator).item()
    replace = torch.rand(ids.shape, generator=generator) >= pkeep
    random_ids = torch.randint(codes, ids.shape, generator=generator)
    return torch.where(replace & motion, random_ids, ids)


def mask_at_random(
    ids: Tensor, motion: Tensor, codes: int, generator: torch.Generator, least: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Put MASK on round(r L) of each row's motion ids, at least one, with r ~ U(least, 1); the new ids and where."""
    share = least + (1 - least) * torch.rand(len(ids), generator=generator)
    count = (share * motion.sum(dim=1)).round().clamp(min=1)
    noise = torch.rand(ids.shape, generator=generator).masked_fill(~motion, 2.0)
    rank = noise.argsort(dim=1).argsort(dim=1)  # the motion ids come first, in random order
    masked = (rank < count[:, None]) & motion
    return ids.masked_fill(masked, mask_id(codes)), masked
