"""The motion tokenizer: features to ids of a codebook and back (spec/model.md 1).

Axes: B batch, T frames, D features, L tokens = ceil(T / 4), C code width, K codes.
Motion is in normalised space throughout; `mean` and `std` say which.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dataset.spec import DatasetSpec, spec_of_width
from models.encdec import ConvConfig, Decoder, Encoder
from models.ids import length_mask, pad_id, token_count
from models.quantize import Quantizer
from utils.checkpoint import build_config, load_checkpoint, load_state, reads_checkpoint


@dataclass(frozen=True)
class VQConfig:
    dim: int = 263  # D
    codes: int = 8192  # K
    code_dim: int = 32  # C, of all parts together
    conv: ConvConfig = field(default_factory=ConvConfig)
    quantizer: str = "ema_reset"
    mu: float = 0.99  # of the codebook's running mean
    beta: float = 1.0  # of `orig`'s commitment
    lower_features: tuple[int, ...] = ()  # of the upper-body model: the features of its lower part
    upper_heights: tuple[int, ...] = ()  # and those that are heights of upper joints

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the tokenizers within: one for the body, or one for each half."""
        return ("upper", "lower") if self.lower_features else ("body",)

    @property
    def frames_per_token(self) -> int:
        return 2**self.conv.down_t


class Reconstruction(NamedTuple):
    motion: Tensor  # [B, T, D]
    loss: Tensor  # of the quantizers
    ids: Tensor  # [N] of the tokens inside the rows, or [N, parts]


class VQVAE(nn.Module):
    """`encode` and `decode` for those who use it, `forward` for training.

    With two parts, upper and lower body have encoder, codebook and decoder of their own, and ids a last axis for the
    part. The heights of upper joints then count from the root, with statistics of their own (spec/model.md 4).
    """

    def __init__(self, config: VQConfig):
        super().__init__()
        self.config = config
        if config.code_dim % len(config.parts):
            raise ValueError(
                f"a code of {config.code_dim} cannot be shared by {' and '.join(config.parts)}: even ones can"
            )
        lower = torch.tensor(config.lower_features, dtype=torch.long)
        rest = torch.ones(config.dim, dtype=torch.bool)
        rest[lower] = False
        features = [lower if part == "lower" else torch.nonzero(rest)[:, 0] for part in config.parts]
        width = config.code_dim // len(config.parts)
        for part, columns in zip(config.parts, features):
            end = _suffix(part)
            self.add_module(f"encoder{end}", Encoder(len(columns), width, config.conv))
            self.add_module(f"decoder{end}", Decoder(len(columns), width, config.conv))
            self.add_module(f"quantizer{end}", Quantizer(config.quantizer, config.codes, width, config.mu, config.beta))
            self.register_buffer(f"features{end}", columns, persistent=False)
        self.register_buffer("mean", torch.zeros(config.dim))
        self.register_buffer("std", torch.ones(config.dim))
        if config.upper_heights:
            self.register_buffer("heights", torch.tensor(config.upper_heights), persistent=False)
            self.register_buffer("mean_upper", torch.zeros(len(config.upper_heights)))
            self.register_buffer("std_upper", torch.ones(len(config.upper_heights)))

    def set_statistics(
        self, mean: Tensor | None, std: Tensor | None, mean_upper: Tensor | None = None, std_upper: Tensor | None = None
    ) -> None:
        """Take mean and std [D], and of two parts those of the heights of upper joints; None leaves them."""
        given = {"mean": mean, "std": std, "mean_upper": mean_upper, "std_upper": std_upper}
        for name, value in given.items():
            if value is not None:
                getattr(self, name).copy_(torch.as_tensor(value))

    @property
    def has_statistics(self) -> bool:
        """Whether it knows its space: the released files do not say it."""
        return bool((self.std != 1).any())

    def normalise(self, features: Tensor) -> Tensor:
        """Features [..., D] to the space this tokenizer lives in."""
        return (features - self.mean) / self.std

    def denormalise(self, motion: Tensor) -> Tensor:
        """The opposite of `normalise`."""
        return motion * self.std + self.mean

    def quantizers(self) -> list[Quantizer]:
        """The quantizer of each part."""
        return [getattr(self, f"quantizer{_suffix(part)}") for part in self.config.parts]

    def codebooks(self) -> Tensor:
        """[parts, K, C / parts] the codes of each part."""
        return torch.stack([quantizer.codebook for quantizer in self.quantizers()])

    def split(self, motion: Tensor) -> list[Tensor]:
        """Motion [B, T, D] to that of each part."""
        if self.config.upper_heights:
            metric = motion[..., self.heights] * self.std[self.heights] + self.mean[self.heights]
            root = motion[..., 3:4] * self.std[3] + self.mean[3]
            motion = motion.index_copy(-1, self.heights, (metric - root - self.mean_upper) / self.std_upper)
        return [motion[..., getattr(self, f"features{_suffix(part)}")] for part in self.config.parts]

    def join(self, parts: list[Tensor]) -> Tensor:
        """The opposite of `split`, in the statistics' precision: heights do not come through a lower one."""
        motion = torch.cat(parts, dim=-1).to(self.mean.dtype)
        columns = torch.cat([getattr(self, f"features{_suffix(part)}") for part in self.config.parts])
        motion = motion[..., columns.argsort()]
        if self.config.upper_heights:
            root = motion[..., 3:4] * self.std[3] + self.mean[3]
            metric = motion[..., self.heights] * self.std_upper + self.mean_upper + root
            heights = (metric - self.mean[self.heights]) / self.std[self.heights]
            motion = motion.index_copy(-1, self.heights, heights)
        return motion

    def latents(self, motion: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """Encoder outputs [B, L, C] of each part of motion [B, T, D]; the tokens' mask [B, L] for lengths [B] (frames).

        Frames that fill up the last token repeat the row's last frame.
        """
        motion, lengths = _whole_tokens(motion, lengths, self.config.frames_per_token)
        mask = None if lengths is None else length_mask(lengths, motion.shape[1])
        frame_mask = None if mask is None else mask[:, None].to(motion.dtype)
        latents = [
            getattr(self, f"encoder{_suffix(part)}")(x.transpose(1, 2), frame_mask).transpose(1, 2)
            for part, x in zip(self.config.parts, self.split(motion))
        ]
        return latents, None if mask is None else mask[:, :: self.config.frames_per_token]

    def encode(self, motion: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Ids [B, L] (or [B, L, parts]) of motion [B, T, D]; for lengths [B] (frames), PAD past each row's end."""
        latents, mask = self.latents(motion, lengths)
        ids = torch.stack([quantizer.nearest(z) for quantizer, z in zip(self.quantizers(), latents)], dim=-1)
        if mask is not None:
            ids = ids.masked_fill(~mask[..., None], pad_id(self.config.codes))
        return ids if len(self.config.parts) > 1 else ids[..., 0]

    def decode(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Motion [B, 4 L, D] of ids [B, L], or [B, L, parts]; with lengths [B] in frames, a row's ids and frames past
        them do not count and come out as zeros.
        """
        if ids.ndim == 2:
            ids = ids[..., None]
        mask = None
        if lengths is not None:
            mask = length_mask(token_count(lengths, self.config.frames_per_token), ids.shape[1])
            ids = ids.masked_fill(~mask[..., None], 0)
        codes = [quantizer.lookup(ids[..., i]) for i, quantizer in enumerate(self.quantizers())]
        motion = self._synthesise(codes, mask)
        return motion if lengths is None else motion * length_mask(lengths, motion.shape[1])[..., None]

    def _synthesise(self, codes: list[Tensor], mask: Tensor | None) -> Tensor:
        """Codes [B, L, C] of each part and their mask [B, L] to motion [B, 4 L, D]."""
        mask = None if mask is None else mask[:, None].to(codes[0].dtype)
        return self.join(
            [
                getattr(self, f"decoder{_suffix(part)}")(x.transpose(1, 2), mask).transpose(1, 2)
                for part, x in zip(self.config.parts, codes)
            ]
        )

    def forward(self, motion: Tensor, lengths: Tensor, generator: torch.Generator | None = None) -> Reconstruction:
        """Reconstruct motion [B, T, D] of lengths [B] (frames, multiples of 4) through the codes, learning them."""
        latents, mask = self.latents(motion, lengths)
        codes, losses, ids = [], [], []
        for quantizer, z in zip(self.quantizers(), latents):
            with torch.autocast(z.device.type, enabled=False):  # running sums and distances want float32
                code, loss, found = quantizer(z[mask].float(), generator)
            codes.append(torch.zeros_like(z, dtype=code.dtype).masked_scatter(mask[..., None], code))
            losses.append(loss)
            ids.append(found)
        ids = torch.stack(ids, dim=-1) if len(ids) > 1 else ids[0]
        return Reconstruction(self._synthesise(codes, mask), torch.stack(losses).sum(), ids)


@torch.no_grad()
def decode_long(model: VQVAE, ids: Tensor, stretch: int = 256) -> Tensor:
    """Motion [4 L, D] of one row of ids [L], or [L, parts], however long: `VQVAE.decode` of it, to rounding.

    The decoder runs over `stretch` tokens at a time with as many on either side as it looks at, so the memory it takes
    does not grow with the motion.
    """
    reach, unit = model.config.conv.decoder_reach, model.config.frames_per_token
    if reach is None or len(ids) <= stretch:
        return model.decode(ids[None])[0]
    parts = []
    for first in range(0, len(ids), stretch):
        start, end = max(0, first - reach), min(len(ids), first + stretch + reach)
        motion = model.decode(ids[start:end][None])[0]
        parts.append(motion[(first - start) * unit : (first - start + stretch) * unit])
    return torch.cat(parts)


def _suffix(part: str) -> str:
    """Of the names of a part's modules, which are those of the released checkpoints."""
    return "" if part == "body" else f"_{part}"


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


TRAINING_STATE = tuple(
    f"quantizer{_suffix(part)}.{name}"
    for part in ("body", "upper", "lower")
    for name in ("code_sum", "code_count", "used", "updates")
)


def vqvae_checkpoint(model: VQVAE, dataset: str) -> dict:
    """What `load_vqvae` reads: weights under the published names, config, statistics and the dataset's name."""
    state = {f"vqvae.{name}": value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    return {
        "net": state, "config": asdict(model.config), "mean": model.mean, "std": model.std, "dataset": dataset,
    }  # fmt: skip


@reads_checkpoint()
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


def check_width(model: VQVAE, spec: DatasetSpec, path: str | Path | None) -> None:
    """ValueError where a tokenizer, from the file `path`, is for another skeleton than the dataset's."""
    if model.config.dim != spec.dim:
        raise ValueError(f"{path} is for {model.config.dim} features, {spec.name} has {spec.dim}: give --dataname")


def read_config(config: dict, path: str | Path) -> VQConfig:
    """The config in a checkpoint of ours."""
    if not isinstance(config, dict):
        raise ValueError(f"{path} was written by another version: its config is a {type(config).__name__}")
    return build_config(VQConfig, {**config, "conv": build_config(ConvConfig, config.get("conv"), path)}, path)


def infer_config(state: dict[str, Tensor], path: str | Path) -> VQConfig:
    """The sizes of a published checkpoint, read off its shapes."""
    parts = ("upper", "lower") if any(name.startswith("encoder_upper.") for name in state) else ("body",)
    ends = [_suffix(part) for part in parts]
    try:
        codes, width_of_codes = state[f"quantizer{ends[0]}.codebook"].shape
        width = len(state[f"encoder{ends[0]}.model.0.weight"])
        dim = sum(state[f"encoder{end}.model.0.weight"].shape[1] for end in ends)
    except KeyError as error:
        raise ValueError(f"{path} is no stage-1 checkpoint: it lacks {error}") from error
    layers = {int(name.split(".")[2]) for name in state if name.startswith(f"encoder{ends[0]}.model.")}
    blocks = {int(name.split(".")[5]) for name in state if name.startswith(f"encoder{ends[0]}.model.2.1.model.")}
    halves = {}
    if len(parts) > 1:  # which features are whose is in no shape: the skeleton of that width knows
        spec = spec_of_width(dim)
        halves = {"lower_features": spec.lower_features, "upper_heights": spec.upper_heights}
    conv = ConvConfig(width=width, depth=len(blocks), down_t=len(layers) - 2)
    return VQConfig(dim=dim, codes=codes, code_dim=width_of_codes * len(parts), conv=conv, **halves)
