"""Vector quantizers: the nearest code of a codebook, and four ways for the codebook to learn (spec/model.md 1).

    ema_reset  codes follow the running mean of what they stand for; unused ones are replaced by encoder outputs
    ema        the same without replacement
    reset      codes are learned by gradient; unused ones are replaced
    orig       codes are learned by gradient: mse(code, sg(z)) + beta mse(sg(code), z)

Axes: N vectors, C code width, K codes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.processes import rows_of_all

QUANTIZERS = ("ema_reset", "ema", "reset", "orig")
RESET_EVERY = 20  # updates
USED_COUNT = 1.0  # running count above which a code counts as used


class Quantizer(nn.Module):
    """`forward` quantizes in training and updates the codebook; `nearest` and `lookup` are all that inference needs."""

    def __init__(self, kind: str, codes: int, code_dim: int, mu: float = 0.99, beta: float = 1.0):
        super().__init__()
        if kind not in QUANTIZERS:
            raise ValueError(f"unknown quantizer {kind!r}: choose one of {', '.join(QUANTIZERS)}")
        self.kind, self.mu, self.beta = kind, mu, beta
        table = torch.empty(codes, code_dim).uniform_(-1 / codes, 1 / codes)
        if self.by_gradient:
            self.codebook = nn.Parameter(table)
        else:
            self.register_buffer("codebook", table)
        self.register_buffer("code_sum", torch.zeros(codes, code_dim))
        self.register_buffer("code_count", torch.zeros(codes))
        self.register_buffer("used", torch.zeros(codes, dtype=torch.bool))  # since the last reset
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def by_gradient(self) -> bool:
        return self.kind in ("reset", "orig")

    @property
    def resets(self) -> bool:
        return self.kind in ("ema_reset", "reset")

    def nearest(self, z: Tensor) -> Tensor:
        """Ids [...] of the codes nearest to z [..., C]; distances are computed in float32 whatever z is."""
        codebook = self.codebook.float()
        # |z - c|^2 less |z|^2, which is the same for every code
        return (codebook.square().sum(dim=1) - 2 * z.float() @ codebook.T).argmin(dim=-1)

    def lookup(self, ids: Tensor) -> Tensor:
        """Codes [..., C] of ids [...]."""
        return F.embedding(ids, self.codebook)

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """z [N, C] float32 to codes [N, C] with straight-through gradient, the quantizer's loss, and ids [N].

        Of several processes each has vectors of its own, and the codebook learns from those of all; the generator, on
        the CPU, has to be in the same state in all of them.
        """
        if self.training:
            everyones = rows_of_all(z.detach())
            if self.updates == 0:
                self._initialise(everyones, generator)
        ids = self.nearest(z.detach())
        code = self.lookup(ids)
        commitment = F.mse_loss(z, code.detach())
        loss = commitment if not self.by_gradient else F.mse_loss(code, z.detach()) + self.beta * commitment
        if self.training:
            self._update(everyones, rows_of_all(ids), generator)
        return z + (code - z).detach(), loss, ids

    @torch.no_grad()
    def _initialise(self, z: Tensor, generator: torch.Generator | None) -> None:
        """Encoder outputs as first codes, tiled with a little noise where the batch has fewer than K."""
        if self.kind == "orig":
            return
        codes = len(self.codebook)
        if len(z) < codes:
            z = z.repeat(-(-codes // len(z)), 1)
            z = z + torch.randn(z.shape, generator=generator).to(z.device) * (0.01 / z.shape[1] ** 0.5)
        picked = torch.randperm(len(z), generator=generator)[:codes]
        self.codebook.copy_(z[picked.to(z.device)])
        self.code_sum.copy_(self.codebook)
        self.code_count.fill_(1.0)

    @torch.no_grad()
    def _update(self, z: Tensor, ids: Tensor, generator: torch.Generator | None) -> None:
        count = torch.zeros_like(self.code_count).index_add_(0, ids, torch.ones_like(ids, dtype=z.dtype))
        self.code_count.lerp_(count, 1 - self.mu)
        if not self.by_gradient:
            total = torch.zeros_like(self.code_sum).index_add_(0, ids, z)
            self.code_sum.lerp_(total, 1 - self.mu)
            # a code that nothing falls to keeps its place: its sum and count fade alike, until neither says anything
            count = self.code_count[:, None]
            self.codebook.copy_(torch.where(count > 1e-6, self.code_sum / count.clamp_min(1e-6), self.codebook))
        self.used |= self.code_count >= USED_COUNT
        self.updates += 1
        if self.resets and self.updates % RESET_EVERY == 0:
            self._replace_unused(z, generator)
            self.used.zero_()

    def _replace_unused(self, z: Tensor, generator: torch.Generator | None) -> None:
        """Put encoder outputs in place of unused codes; in the running statistics too, or the next update undoes it."""
        unused = torch.nonzero(~self.used)[:, 0]
        # a draw for every code: as many however many are unused, or one rounding would set processes apart for good
        picked = z[torch.randint(len(z), (len(self.codebook),), generator=generator).to(z.device)[unused]]
        self.codebook[unused] = picked
        self.code_sum[unused] = picked
        self.code_count[unused] = USED_COUNT


def perplexity(ids: Tensor, codes: int) -> Tensor:
    """exp of the entropy of the ids' distribution: how many codes are in even use."""
    share = torch.bincount(ids.flatten(), minlength=codes).float() / ids.numel()
    return torch.exp(-torch.special.xlogy(share, share).sum())
