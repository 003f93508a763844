"""How long a motion takes, from its sentence: a small text encoder and a distribution over token counts.

Axes: B sentences, L token counts 1..longest.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.text_encoder import LearnedTextEncoder, build_text_encoder
from utils.checkpoint import build_config, load_checkpoint, load_state, reads_checkpoint


@dataclass(frozen=True)
class LengthConfig:
    longest: int = 49  # tokens
    text_dim: int = 96


class LengthModel(nn.Module):
    """Sentences to logits [B, longest] of 1, 2, ... tokens."""

    def __init__(self, config: LengthConfig, text_encoder: LearnedTextEncoder):
        super().__init__()
        self.config, self.text_encoder = config, text_encoder
        self.head = nn.Linear(config.text_dim, config.longest)

    def forward(self, texts: list[str]) -> Tensor:
        return self.head(self.text_encoder(texts).sentence)

    @torch.no_grad()
    def predict(self, texts: list[str], least: int = 1) -> Tensor:
        """[B] the median of each sentence's distribution over token counts from `least` up."""
        logits = self(texts)
        logits[:, : least - 1] = -torch.inf
        share = logits.softmax(dim=-1).cumsum(dim=-1)
        return (share < 0.5).sum(dim=-1) + 1


def length_loss(logits: Tensor, lengths: Tensor, spread: float = 1.0) -> Tensor:
    """Cross-entropy against lengths [B] (tokens) blurred by a Gaussian of `spread` tokens: near misses are near."""
    counts = torch.arange(1, logits.shape[1] + 1, device=logits.device)
    target = torch.softmax(-0.5 * ((counts - lengths[:, None]) / spread) ** 2, dim=-1)
    return F.cross_entropy(logits, target)


def length_checkpoint(model: LengthModel, dataset: str) -> dict:
    """What `load_length_model` reads."""
    state = {name: value for name, value in model.state_dict().items() if name.startswith("head.")}
    return {
        "length": state, "config": asdict(model.config), "text": model.text_encoder.checkpoint(), "dataset": dataset,
    }  # fmt: skip


@reads_checkpoint()
def load_length_model(path: str | Path, device: str | torch.device = "cpu") -> LengthModel:
    """A length model ready for use. Raises ValueError for a file that is none."""
    content = load_checkpoint(path)
    if not isinstance(content.get("length"), dict):
        raise ValueError(f"{path} is no length model: it has no 'length'")
    model = LengthModel(
        build_config(LengthConfig, content.get("config"), path), build_text_encoder(content.get("text", {}), path)
    )
    load_state(model.head, {name.removeprefix("head."): value for name, value in content["length"].items()}, path)
    return model.to(device).eval()
