"""The special ids that follow the K codes of a codebook, and the rows made of them. The only owner of both.

A row is `row_length` ids: L motion tokens, END, then PAD (spec/model.md 2).
"""

import torch
from torch import Tensor

FRAMES_PER_TOKEN = 4  # of the released tokenizers; a tokenizer's own is 2 ** down_t
SPECIAL_IDS = 3


def end_id(codes: int) -> int:
    return codes


def pad_id(codes: int) -> int:
    return codes + 1


def mask_id(codes: int) -> int:
    return codes + 2


def token_count(frames: Tensor | int, frames_per_token: int = FRAMES_PER_TOKEN) -> Tensor | int:
    """Tokens that a motion of so many frames takes: the quotient rounded up."""
    return (frames + frames_per_token - 1) // frames_per_token


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """[B, size] bool: position < length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def make_rows(ids: Tensor, lengths: Tensor, codes: int, row_length: int) -> Tensor:
    """Rows [B, row_length] of motion ids [B, L] with lengths [B] (tokens): END and PAD put after each row's motion.

    Ids of several parts have a last axis, which stays: every part has its END and PAD.
    """
    batch, size, *parts = ids.shape
    rows = torch.full((batch, row_length, *parts), pad_id(codes), dtype=ids.dtype, device=ids.device)
    width = min(size, row_length)
    rows[:, :width] = ids[:, :width]
    rows[~length_mask(lengths, row_length)] = pad_id(codes)
    inside = lengths < row_length
    rows[inside.nonzero()[:, 0], lengths[inside]] = end_id(codes)
    return rows


def predicted(ids: Tensor) -> Tensor:
    """Ids [B, L] that stage 2 predicts: of [B, L, parts] those of the first part, the upper body (spec/model.md 4)."""
    return ids if ids.ndim == 2 else ids[..., 0]


def with_predicted(ids: Tensor, new: Tensor) -> Tensor:
    """The same ids, [B, L] or [B, L, parts], but for those that are predicted: these become `new` [B, L]."""
    return new if ids.ndim == 2 else torch.cat((new[..., None], ids[..., 1:]), dim=-1)
