"""The convolutional encoder and decoder of the motion tokenizer (spec/model.md 1).

Axes: B batch, T frames or steps, D features, W width, C code width. Sequences are [B, channels, T] inside.

Every network takes an optional `mask` [B, 1, T]: with it, what lies past a row's length is zero before every
convolution, which is just what the convolution's own padding is to a row alone. So a padded batch equals its rows.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
NORMS = ("LN", "GN", "BN")


@dataclass(frozen=True)
class ConvConfig:
    width: int = 512
    depth: int = 3
    down_t: int = 2  # halvings of the rate: one token is 2 ** down_t frames
    growth: int = 3  # of the dilation, from block to block
    activation: str = "relu"
    norm: str | None = None

    @property
    def decoder_reach(self) -> int | None:
        """Tokens on either side that a frame of the decoder depends on; None where a norm sees all of the motion."""
        if self.norm == "GN":
            return None
        dilations = sum(self.growth**i for i in range(self.depth))
        reach = 1.0  # of the first convolution
        for i in range(self.down_t):
            reach += dilations / 2**i + 1 / 2 ** (i + 1)
        # the last two convolutions, and a token for the rounding of the upsampling
        return math.ceil(reach + 2 / 2**self.down_t) + 1


class MaskedNorm(nn.Module):
    """LN over channels, GN over 32 groups of channels and time, or BN; statistics over time leave padding out."""

    def __init__(self, kind: str, width: int):
        super().__init__()
        self.kind = kind
        make = {"LN": nn.LayerNorm, "GN": lambda w: nn.GroupNorm(32, w, eps=1e-6), "BN": nn.BatchNorm1d}
        self.norm = make[kind](width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.kind == "LN":
            return self.norm(x.transpose(1, 2)).transpose(1, 2)
        if self.kind == "BN" or mask is None:
            return self.norm(x)
        groups, eps = self.norm.num_groups, self.norm.eps
        split = x.unflatten(1, (groups, -1))  # [B, G, W/G, T]
        mask = mask[:, None].to(x)
        count = mask.sum(dim=(2, 3), keepdim=True) * split.shape[2]
        mean = (split * mask).sum(dim=(2, 3), keepdim=True) / count
        var = ((split - mean) ** 2 * mask).sum(dim=(2, 3), keepdim=True) / count
        normal = ((split - mean) * torch.rsqrt(var + eps)).flatten(1, 2)
        return normal * self.norm.weight[:, None] + self.norm.bias[:, None]


class TimeConv(nn.Conv1d):
    """A convolution over time [B, C, T]. In bfloat16 on a CPU it is one matrix product of shifted copies of its input:
    two to three times the speed of the convolution's own backward pass there. Elsewhere it is a convolution.

    What comes out then lies as [B, T, C] in memory, as the next one wants it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        (size,), (stride,), (padding,), (dilation,) = self.kernel_size, self.stride, self.padding, self.dilation
        x = x.transpose(1, 2).to(torch.get_autocast_dtype("cpu"))  # [B, T, C]
        if size > 1:
            x = F.pad(x, (0, 0, padding, padding))
            reach = x.shape[1] - dilation * (size - 1)
            x = torch.cat([x[:, i * dilation : i * dilation + reach : stride] for i in range(size)], dim=-1)
        return F.linear(x, self.weight.permute(0, 2, 1).flatten(1), self.bias).transpose(1, 2)


class ResidualBlock(nn.Module):
    """act, dilated conv k3, act, conv k1, plus the input."""

    def __init__(self, config: ConvConfig, dilation: int):
        super().__init__()
        width = config.width
        self.norm1 = MaskedNorm(config.norm, width) if config.norm else None
        self.norm2 = MaskedNorm(config.norm, width) if config.norm else None
        self.activation = ACTIVATIONS[config.activation]()
        self.conv1 = TimeConv(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = TimeConv(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = self.activation(self.norm1(x, mask) if self.norm1 else x)
        h = self.conv1(_masked(h, mask))
        h = self.activation(self.norm2(h, mask) if self.norm2 else h)
        return x + self.conv2(h)


class ResidualStack(nn.Module):
    """`depth` blocks, the largest dilation first."""

    def __init__(self, config: ConvConfig):
        super().__init__()
        dilations = [config.growth**i for i in reversed(range(config.depth))]
        self.model = nn.ModuleList(ResidualBlock(config, dilation) for dilation in dilations)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for block in self.model:
            x = block(x, mask)
        return x


class Encoder(nn.Module):
    """[B, D, T] to [B, C, T / 2 ** down_t]. The layers' numbers are those of the released checkpoints."""

    def __init__(self, dim: int, code_dim: int, config: ConvConfig):
        super().__init__()
        width = config.width
        downs = [
            nn.Sequential(TimeConv(width, width, 4, stride=2, padding=1), ResidualStack(config))
            for _ in range(config.down_t)
        ]
        self.model = nn.ModuleList(
            [TimeConv(dim, width, 3, padding=1), nn.ReLU(), *downs, TimeConv(width, code_dim, 3, padding=1)]
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        first, relu, *downs, last = self.model
        x = relu(first(_masked(x, mask)))
        for down, residual in downs:
            x = down(_masked(x, mask))
            mask = None if mask is None else mask[..., ::2]
            x = residual(x, mask)
        return last(_masked(x, mask))


class Decoder(nn.Module):
    """[B, C, L] to [B, D, L * 2 ** down_t]; `mask` is that of the L tokens."""

    def __init__(self, dim: int, code_dim: int, config: ConvConfig):
        super().__init__()
        width = config.width
        ups = [
            nn.Sequential(ResidualStack(config), nn.Upsample(scale_factor=2), TimeConv(width, width, 3, padding=1))
            for _ in range(config.down_t)
        ]
        self.model = nn.ModuleList(
            [
                TimeConv(code_dim, width, 3, padding=1),
                nn.ReLU(),
                *ups,
                TimeConv(width, width, 3, padding=1),
                nn.ReLU(),
                TimeConv(width, dim, 3, padding=1),
            ]
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        first, relu, *ups, before_last, _, last = self.model
        x = relu(first(_masked(x, mask)))
        for residual, upsample, conv in ups:
            x = upsample(residual(x, mask))
            mask = None if mask is None else mask.repeat_interleave(2, dim=-1)
            x = conv(_masked(x, mask))
        x = relu(before_last(_masked(x, mask)))
        return last(_masked(x, mask))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask.to(x.dtype)  # in its own precision: a wider mask would widen it
