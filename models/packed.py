"""Layers made ready for inference: weights cast and laid out once, not at every call.

Autocast turns float32 weights into bfloat16 whenever they are used, and a product's library lays them out anew for its
kernels: for one motion at a time that takes as long as the product itself. What comes of `pack` does both once. It is
for inference alone, on the device it was made for.

Axes: B batch, L ids, N ids or words attended to, E width, H heads.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.transformer import Block, attend


class PackedLinear(nn.Module):
    """x [..., in] to [..., out] in the weights' precision, then GELU where it follows, or a sum.

    On a CPU by oneDNN, whose rows do not depend on how many there are. Elsewhere it is the plain layer, cast.
    """

    def __init__(self, linear: nn.Linear | list[nn.Linear], dtype: torch.dtype, gelu: bool = False):
        """linear: of several layers (alike in having a bias) the results stand side by side."""
        super().__init__()
        layers = [linear] if isinstance(linear, nn.Linear) else linear
        weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)
        self.dtype, self.out, self.gelu = dtype, len(weight), gelu
        self.bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers]).to(dtype)
        self.by_onednn = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.by_onednn else weight

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """plus [..., out], in the weights' precision, is added before the result is rounded to it."""
        x = x.to(self.dtype)
        if not self.by_onednn:
            x = F.linear(x, self.weight, self.bias)
            x = F.gelu(x) if self.gelu else x
            return x if plus is None else plus + x
        flat, product = x.reshape(-1, x.shape[-1]), torch.ops.mkldnn._linear_pointwise
        if plus is not None:
            flat = product.binary(flat, plus.reshape(-1, self.out), self.weight, self.bias, "add")
        else:
            after = ("gelu", [], "none") if self.gelu else ("none", [], "")
            flat = product(flat, self.weight, self.bias, *after)
        return flat.view(*x.shape[:-1], self.out)


class PackedBlock(nn.Module):
    """A `Block` all of whose activations are in the weights' precision, the sums with its input among them.

    In bfloat16 that halves what passes between layers, which took a third of the time beside the products (LOG.md).
    """

    def __init__(self, block: Block, dtype: torch.dtype):
        super().__init__()
        attn, (up, _, down, _) = block.attn, block.mlp
        self.dtype, self.heads = dtype, attn.heads
        self.ln1, self.ln2, self.ln3 = block.ln1, block.ln2, block.ln3
        cross = block.ln3 is not None
        self.query = PackedLinear([attn.query] if cross else [attn.query, attn.key, attn.value], dtype)
        self.key_value = PackedLinear([attn.key, attn.value], dtype) if cross else None
        self.proj = PackedLinear(attn.proj, dtype)
        self.up, self.down = PackedLinear(up, dtype, gelu=True), PackedLinear(down, dtype)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B, N, parts x E] to so many [B, H, N, E / H]."""
        return rearrange(x, "b n (p h e) -> p b h n e", p=parts, h=self.heads).unbind()

    def read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """As `Block.read`."""
        return self._split(self.key_value(self.ln3(words.to(self.dtype))), 2)

    def forward(self, x: Tensor, visible: Tensor | None, words: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """As `Block.forward`."""
        x = x.to(self.dtype)
        read = self._split(self.query(self.ln1(x)), 3 if words is None else 1)
        mixed = rearrange(attend(read[0], *(words or read[1:]), visible), "b h n e -> b n (h e)")
        x = self.proj(mixed, plus=x)
        return self.down(self.up(self.ln2(x)), plus=x)


def pack(module: nn.Module, precision: str) -> nn.Module:
    """The same module with blocks and linear layers packed, for a precision of `utils.runtime`: "32" or "bf16".

    It cannot be trained, saved or moved after that.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    children = list(module.named_children())
    for (name, child), (after, follower) in zip(children, [*children[1:], ("", None)]):
        if isinstance(child, Block):
            setattr(module, name, PackedBlock(child, dtype))
            continue
        if not isinstance(child, nn.Linear):
            pack(child, precision)
            continue
        gelu = isinstance(module, nn.Sequential) and isinstance(follower, nn.GELU) and follower.approximate == "none"
        setattr(module, name, PackedLinear(child, dtype, gelu))
        if gelu:
            setattr(module, after, nn.Identity())
    return module
