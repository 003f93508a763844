"""The motion tokenizer: features to ids of a codebook and back (spec/model.md 1).

Axes: B batch, T frames, D features, L tokens = ceil(T / 4), C code width, K codes.
Motion is in normalised space throughout; `mean` and `std` say which.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.encdec import ConvConfig, Decoder, Encoder
from models.ids import length_mask, pad_id, token_count
from models.quantize import Quantizer
from utils.checkpoint import build_config, load_checkpoint, load_state


@dataclass(frozen=True)
class VQConfig:
    dim: int = 263  # D
    codes: int = 8192  # K
    code_dim: int = 32  # C
    conv: ConvConfig = field(default_factory=ConvConfig)
    quantizer: str = "ema_reset"
    mu: float = 0.99  # of the codebook's running mean
    beta: float = 1.0  # of `orig`'s commitment

    @property
    def frames_per_token(self) -> int:
        return 2**self.conv.down_t


class Reconstruction(NamedTuple):
    motion: Tensor  # [B, T, D]
    loss: Tensor  # of the quantizer
    ids: Tensor  # [N] of the tokens inside the rows


class VQVAE(nn.Module):
    """`encode` and `decode` for those who use it, `forward` for training."""

    def __init__(self, config: VQConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.dim, config.code_dim, config.conv)
        self.decoder = Decoder(config.dim, config.code_dim, config.conv)
        self.quantizer = Quantizer(config.quantizer, config.codes, config.code_dim, config.mu, config.beta)
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("std", torch.ones(config.dim))

    def set_statistics(self, mean: Tensor | None, std: Tensor | None) -> None:
        """Take mean and std [D]; None leaves them."""
        for name, value in (("mean", mean), ("std", std)):
            if value is not None:
                getattr(self, name).copy_(torch.as_tensor(value))

    def normalise(self, features: Tensor) -> Tensor:
        """Features [..., D] to the space this tokenizer lives in."""
        return (features - self.mean) / self.std

    def denormalise(self, motion: Tensor) -> Tensor:
        """The opposite of `normalise`."""
        return motion * self.std + self.mean

    def latents(self, motion: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encoder outputs [B, L, C] of motion [B, T, D], and the tokens' mask [B, L] where lengths [B] are given.

        Frames that fill up the last token repeat the row's last frame.
        """
        motion, lengths = _whole_tokens(motion, lengths, self.config.frames_per_token)
        mask = None if lengths is None else length_mask(lengths, motion.shape[1])
        frame_mask = None if mask is None else mask[:, None].to(motion.dtype)
        z = self.encoder(motion.transpose(1, 2), frame_mask).transpose(1, 2)  # [B, L, C]
        return z, None if mask is None else mask[:, :: self.config.frames_per_token]

    def encode(self, motion: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Ids [B, L] of motion [B, T, D]; with lengths [B] in frames, ids past a row's end are PAD."""
        z, mask = self.latents(motion, lengths)
        ids = self.quantizer.nearest(z)
        return ids if mask is None else ids.masked_fill(~mask, pad_id(self.config.codes))

    def decode(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Motion [B, 4 L, D] of ids [B, L]; with lengths [B] in frames, a row's ids and frames past them do not count
        and come out as zeros.
        """
        if lengths is None:
            return self._synthesise(self.quantizer.lookup(ids), None)
        mask = length_mask(token_count(lengths, self.config.frames_per_token), ids.shape[1])
        motion = self._synthesise(self.quantizer.lookup(ids.masked_fill(~mask, 0)), mask)
        return motion * length_mask(lengths, motion.shape[1])[..., None]

    def _synthesise(self, codes: Tensor, mask: Tensor | None) -> Tensor:
        """Codes [B, L, C] and their mask [B, L] to motion [B, 4 L, D]."""
        mask = None if mask is None else mask[:, None].to(codes.dtype)
        return self.decoder(codes.transpose(1, 2), mask).transpose(1, 2)

    def forward(self, motion: Tensor, lengths: Tensor, generator: torch.Generator | None = None) -> Reconstruction:
        """Reconstruct motion [B, T, D] of lengths [B] (frames, multiples of 4) through the codes, learning them."""
        z, mask = self.latents(motion, lengths)
        with torch.autocast(z.device.type, enabled=False):  # running sums and distances want float32
            codes, loss, ids = self.quantizer(z[mask].float(), generator)
        quantised = torch.zeros_like(z, dtype=codes.dtype).masked_scatter(mask[..., None], codes)
        return Reconstruction(self._synthesise(quantised, mask), loss, ids)


def _whole_tokens(motion: Tensor, lengths: Tensor | None, unit: int) -> tuple[Tensor, Tensor | None]:
    """Lengthen rows to a multiple of `unit` frames by repeating each row's last frame."""
    batch, frames, _ = motion.shape
    size = token_count(frames, unit) * unit
    if size > frames:
        motion = torch.cat((motion, motion[:, -1:].expand(-1, size - frames, -1)), dim=1)
    if lengths is None:
        return motion, None
    lengths = lengths.to(motion.device)
    if (lengths % unit != 0).any():
        last = torch.arange(size, device=motion.device).expand(batch, -1).clamp(max=(lengths - 1)[:, None])
        motion = motion.gather(1, last[..., None].expand_as(motion))
    return motion, token_count(lengths, unit) * unit


TRAINING_STATE = ("quantizer.code_sum", "quantizer.code_count", "quantizer.used", "quantizer.updates")


def vqvae_checkpoint(model: VQVAE, dataset: str) -> dict:
    """What `load_vqvae` reads: weights under the published names, config, statistics and the dataset's name."""
    state = {f"vqvae.{name}": value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    return {
        "net": state, "config": asdict(model.config), "mean": model.mean, "std": model.std, "dataset": dataset,
    }  # fmt: skip


def load_vqvae(
    path: str | Path, device: str | torch.device = "cpu", mean: Tensor | None = None, std: Tensor | None = None
) -> VQVAE:
    """A tokenizer ready for use from a checkpoint of ours or of the published layout (spec/model.md 5).

    Sizes come from the file. Statistics come from the file too, else as given, else they are 0 and 1: the model then
    works in normalised space only. Raises ValueError for a file that is no stage-1 checkpoint.
    """
    content = load_checkpoint(path)
    if not isinstance(content.get("net"), dict):
        raise ValueError(f"{path} is no stage-1 checkpoint: it has no 'net' ({', '.join(map(str, list(content)[:5]))})")
    state = {name.removeprefix("vqvae."): value for name, value in content["net"].items()}
    config = read_config(content["config"], path) if "config" in content else infer_config(state, path)
    model = VQVAE(config)
    load_state(model, state, path, optional=("mean", "std", *TRAINING_STATE))
    model.set_statistics(content.get("mean", mean), content.get("std", std))
    return model.to(device).eval()


def read_config(config: dict, path: str | Path) -> VQConfig:
    """The config in a checkpoint of ours."""
    return build_config(VQConfig, {**config, "conv": build_config(ConvConfig, config.get("conv"), path)}, path)


def infer_config(state: dict[str, Tensor], path: str | Path) -> VQConfig:
    """The sizes of a published checkpoint, read off its shapes."""
    try:
        codes, code_dim = state["quantizer.codebook"].shape
        width, dim, _ = state["encoder.model.0.weight"].shape
    except KeyError as error:
        raise ValueError(f"{path} is no stage-1 checkpoint: it lacks {error}") from error
    layers = {int(name.split(".")[2]) for name in state if name.startswith("encoder.model.")}
    blocks = {int(name.split(".")[5]) for name in state if name.startswith("encoder.model.2.1.model.")}
    conv = ConvConfig(width=width, depth=len(blocks), down_t=len(layers) - 2)
    return VQConfig(dim=dim, codes=codes, code_dim=code_dim, conv=conv)
