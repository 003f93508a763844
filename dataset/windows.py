"""Windows of motion for stage 1: one gather from motion that sits in memory."""

import torch
from torch import Tensor

from dataset.humanml import Clip


class Windows:
    """All clips one after another, and draws of windows from them.

    A clip shorter than the window is used whole; its row is padded with its last frames' neighbours, which do not
    count. Rows of a batch are drawn so that every frame is as likely as any other.
    """

    def __init__(self, clips: list[Clip], mean: Tensor, std: Tensor, window: int, unit: int):
        """`unit`: frames a token; the lengths of rows are multiples of it."""
        self.motion = torch.cat([(torch.from_numpy(clip.motion) - mean) / std for clip in clips])  # [frames, D]
        lengths = torch.tensor([len(clip.motion) for clip in clips])
        self.starts = torch.cumsum(lengths, 0) - lengths
        self.lengths = torch.clamp(lengths // unit * unit, max=window // unit * unit)  # of a row of each clip
        self.places = lengths - self.lengths + 1  # where in the clip a row may begin
        self.weights = lengths.double()
        self.window = int(self.lengths.max())

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Motion [B, window, D] and lengths [B]."""
        clips = torch.multinomial(self.weights, batch, replacement=True, generator=generator)
        place = (torch.rand(batch, generator=generator) * self.places[clips]).long()
        frames = (self.starts[clips] + place)[:, None] + torch.arange(self.window)
        return self.motion[frames.clamp(max=len(self.motion) - 1)], self.lengths[clips]
