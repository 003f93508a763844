"""Linear layers made ready for inference: weights cast and laid out once, not at every call.

Autocast turns float32 weights into bfloat16 whenever they are used, and a product's library lays them out anew for its
kernels: for one motion at a time that takes as long as the product itself. What comes of `pack` does both once. It is
for inference alone, on the device it was made for.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PackedLinear(nn.Module):
    """x [..., in] to [..., out] in the weights' precision, then GELU where it follows.

    On a CPU by oneDNN, whose rows do not depend on how many there are. Elsewhere it is the plain layer, cast.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, gelu: bool = False):
        super().__init__()
        weight = linear.weight.detach().to(dtype)
        self.dtype, self.out, self.gelu = dtype, len(weight), gelu
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.by_onednn = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.by_onednn else weight

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if not self.by_onednn:
            x = F.linear(x, self.weight, self.bias)
            return F.gelu(x) if self.gelu else x
        after = ("gelu", [], "none") if self.gelu else ("none", [], "")
        flat = torch.ops.mkldnn._linear_pointwise(x.reshape(-1, x.shape[-1]), self.weight, self.bias, *after)
        return flat.view(*x.shape[:-1], self.out)


def pack(module: nn.Module, precision: str) -> nn.Module:
    """The same module, its linear layers replaced by packed ones for a precision of `utils.runtime`: "32" or "bf16".

    It cannot be trained, saved or moved after that.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    children = list(module.named_children())
    for (name, child), (after, follower) in zip(children, [*children[1:], ("", None)]):
        if not isinstance(child, nn.Linear):
            pack(child, precision)
            continue
        gelu = isinstance(module, nn.Sequential) and isinstance(follower, nn.GELU) and follower.approximate == "none"
        setattr(module, name, PackedLinear(child, dtype, gelu))
        if gelu:
            setattr(module, after, nn.Identity())
    return module
