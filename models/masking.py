"""What stage 2's training does to a row of motion ids before the transformer sees it (spec/model.md 2).

Axes: B batch, L ids of a row. Every draw comes from the generator that is given.
"""

import torch
from torch import Tensor

from models.ids import mask_id, predicted, with_predicted


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
    return _mask(ids, motion, codes, generator, (share * motion.sum(dim=1)).round().clamp(min=1))


def mask_given(ids: Tensor, motion: Tensor, codes: int, generator: torch.Generator, share: float) -> Tensor:
    """Put MASK on ids [B, L] that are given and not predicted, the lower body's, so that sampling can do without them.

    Of a `share` of the rows round(r L) motion ids, r ~ U(0, 1); the others stay whole, as they mostly are in use.
    """
    chosen = torch.rand(len(ids), generator=generator) < share
    count = (torch.rand(len(ids), generator=generator) * motion.sum(dim=1)).round() * chosen
    return _mask(ids, motion, codes, generator, count)[0]


def training_rows(
    rows: Tensor, motion: Tensor, codes: int, generator: torch.Generator, pkeep: float = 1.0, lower_mask: float = 0.0
) -> tuple[Tensor, Tensor]:
    """What the transformer is shown of rows [B, L] or [B, L, parts] in training, and where the predicted are MASK.

    Predicted ids are replaced, then masked; the lower body's are true, but for MASKs in a `lower_mask` of the rows.
    """
    inputs = predicted(rows)
    if pkeep != 1:
        inputs = replace_at_random(inputs, motion, codes, pkeep, generator)
    inputs, masked = mask_at_random(inputs, motion, codes, generator)
    if rows.ndim > 2 and lower_mask:
        lower = mask_given(rows[..., 1], motion, codes, generator, lower_mask)
        rows = torch.stack((rows[..., 0], lower), dim=-1)
    return with_predicted(rows, inputs), masked


def _mask(ids: Tensor, motion: Tensor, codes: int, generator: torch.Generator, count: Tensor) -> tuple[Tensor, Tensor]:
    """Put MASK on `count` [B] random motion ids of each row; the new ids and where."""
    noise = torch.rand(ids.shape, generator=generator).masked_fill(~motion, 2.0)
    rank = noise.argsort(dim=1).argsort(dim=1)  # the motion ids come first, in random order
    masked = (rank < count[:, None]) & motion
    return ids.masked_fill(masked, mask_id(codes)), masked
