"""Losses of stage 1 (spec/model.md 1). Motion is [B, T, D], normalised; `mask` [B, T] says which frames count."""

import torch
from torch import Tensor
from torch.nn import functional as F

RECONSTRUCTION_LOSSES = {"l1_smooth": F.smooth_l1_loss, "l1": F.l1_loss, "l2": F.mse_loss}


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [B, T, ...] over the frames that count."""
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
    per_frame = values.numel() // mask.numel()
    return torch.where(mask, values, 0.0).sum() / (mask.sum() * per_frame)


def reconstruction_loss(kind: str, motion: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The chosen loss over every feature of the frames that count."""
    return masked_mean(RECONSTRUCTION_LOSSES[kind](motion, target, reduction="none"), mask)


def root_aligned_error(joints: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean distance of joints [B, T, J, 3] from the target's, roots put together, in the joints' unit."""
    difference = (joints - joints[..., :1, :]) - (target - target[..., :1, :])
    return masked_mean(difference.norm(dim=-1), mask)


def displacement_error(joints: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean distance of each joint's step from frame to frame, [B, T, J, 3] in the world, from the target's.

    It holds still what stands still: a foot that slides costs here, however right its pose.
    """
    difference = (joints[:, 1:] - joints[:, :-1]) - (target[:, 1:] - target[:, :-1])
    return masked_mean(difference.norm(dim=-1), mask[:, 1:])
