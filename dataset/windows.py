"""Windows of motion for stage 1: a batch is one gather from the motions as they lie in memory, then normalised.

Axes: B batch, D features.
"""

import numpy as np
import torch
from torch import Tensor

from dataset.humanml import Clip
from utils.runtime import fits


class Windows:
    """All clips, and draws of windows from them.

    A clip shorter than the window is used whole; its row is padded with the frames that lie after it, which do not
    count. Rows of a batch are drawn so that every frame is as likely as any other.
    """

    def __init__(
        self, clips: list[Clip], mean: Tensor, std: Tensor, window: int, unit: int, weights: Tensor | None = None,
        device: torch.device | None = None,
    ):  # fmt: skip
        """`unit`: frames a token; the lengths of rows are multiples of it. `weights` [number of clips]: how much more
        likely a frame of each clip is drawn (default: evenly). `device`: where rows are wanted; a GPU with room for all
        the motion holds it, and what is drawn is gathered there.
        """
        motion, starts = one_array(clips)
        self.motion, self.starts = torch.from_numpy(motion), torch.from_numpy(starts)
        self.device = device or torch.device("cpu")
        home = self.device if fits(self.device, motion.nbytes) else torch.device("cpu")
        self.motion, self.mean, self.std = self.motion.to(home), mean.to(home), std.to(home)
        if window < unit:
            raise ValueError(f"a window of {window} frames holds no token of {unit}")
        lengths = torch.tensor([len(clip.motion) for clip in clips])
        self.lengths = torch.clamp(lengths // unit * unit, max=window // unit * unit)  # of a row of each clip
        self.places = lengths - self.lengths + 1  # where in the clip a row may begin
        self.weights = lengths.double() * (1.0 if weights is None else weights)
        self.window = int(self.lengths.max())

    def draw(self, batch: int, generator: torch.Generator, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Motion [B, window, D], normalised, and lengths [B]; with `part`, these rows alone of such a batch."""
        clips = torch.multinomial(self.weights, batch, replacement=True, generator=generator)[part]
        place = (torch.rand(batch, generator=generator)[part] * self.places[clips]).long()
        frames = (self.starts[clips] + place)[:, None] + torch.arange(self.window)
        rows = frames.clamp(max=len(self.motion) - 1).flatten().to(self.motion.device)
        motion = self.motion.index_select(0, rows).sub_(self.mean).div_(self.std)
        return motion.unflatten(0, (len(clips), self.window)).to(self.device), self.lengths[clips].to(self.device)


def one_array(clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """An array [frames, D] that holds all the clips, and each clip's first row in it.

    Clips of one pack are views into such an array already: then nothing is copied.
    """
    base, dim = clips[0].motion.base, clips[0].motion.shape[1]
    packed = isinstance(base, np.ndarray) and base.ndim == 2 and base.shape[1] == dim and base.flags.c_contiguous
    if packed and all(clip.motion.base is base and clip.motion.flags.c_contiguous for clip in clips):
        bytes_in = [clip.motion.ctypes.data - base.ctypes.data for clip in clips]
        return base, np.array(bytes_in) // base.strides[0]
    lengths = np.array([len(clip.motion) for clip in clips])
    return np.concatenate([clip.motion for clip in clips]), np.cumsum(lengths) - lengths
