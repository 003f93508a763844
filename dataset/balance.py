"""Drawing rare kinds of motion more often than they occur."""

from collections import Counter

import torch
from torch import Tensor

from dataset.humanml import Clip
from dataset.spec import DatasetSpec


def balancing_weights(clips: list[Clip], spec: DatasetSpec, balance: float) -> Tensor:
    """How likely to draw each clip: evenly over clips at balance 0, evenly over the kinds of clips at balance 1."""
    kinds = [spec.kind(clip.name) for clip in clips]
    count = Counter(kinds)
    return torch.tensor([count[kind] ** -balance for kind in kinds])
