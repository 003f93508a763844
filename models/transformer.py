"""The masked transformer: text and a row of ids, some of them MASK, to logits of every position (spec/model.md 2).

Axes: B batch, L ids of a row, N words, S text width, C code width, E width, H heads, K codes.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.ids import SPECIAL_IDS, pad_id, predicted
from utils.checkpoint import build_config, load_checkpoint, load_state, reads_checkpoint


@dataclass(frozen=True)
class TransformerConfig:
    codes: int = 8192  # K
    code_dim: int = 32  # C
    text_dim: int = 512  # S
    width: int = 1024  # E
    heads: int = 16
    layers: int = 9  # the second stack has this many, the first this many less the local ones
    local_layers: int = 2  # of cross-attention to the words
    ff_rate: int = 4
    row_length: int = 50  # ids of a row: at most 49 motion tokens, END, PAD
    dropout: float = 0.1
    parts: int = 1  # 2: upper and lower body, of which the upper is predicted
    mask_words: bool = True  # cross-attention leaves padding of the words out; the released models attend to it

    def __post_init__(self):
        check_heads(self.width, self.heads)


def check_heads(width: int, heads: int) -> None:
    """ValueError for a width that sinusoids or so many attention heads cannot share."""
    if width % 2 or width % heads:
        raise ValueError(f"a width of {width} cannot be shared by {heads} attention heads: it must be an even multiple")


def sinusoids(positions: int, width: int) -> Tensor:
    """[positions, width]: sin on even, cos on odd channels, frequencies exp(-ln(10000) 2i / width)."""
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(positions)[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def attend(query: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None, dropout: float = 0.0) -> Tensor:
    """[B, H, L, E / H] means of values [B, H, N, E / H], weighted by how well the query meets the keys.

    visible [B, N]: keys that exist (None: all).
    """
    mask = None if visible is None else visible[:, None, None, :]
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, keys, values, mask, dropout_p=dropout)
    # for inference in bfloat16 torch's fused kernel takes up to three times as long on a CPU as its parts (LOG.md)
    batch, heads = query.shape[:2]
    query, keys, values = (x.flatten(0, 1) for x in (query, keys, values))
    weights = torch.bmm(query, keys.transpose(1, 2)).float().mul_(query.shape[-1] ** -0.5)
    if mask is not None:
        weights.unflatten(0, (batch, heads)).masked_fill_(~mask, -torch.inf)
    return torch.bmm(weights.softmax(dim=-1).to(values.dtype), values).unflatten(0, (batch, heads))


class Attention(nn.Module):
    """Multi-head attention of x [B, L, E] to keys and values [B, H, N, E / H], made of what is attended to."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.output_dropout = nn.Dropout(dropout)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h e) -> b h n e", h=self.heads)

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, N, E / H] of what is attended to [B, N, E]."""
        return self._split(self.key(source)), self._split(self.value(source))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
        """[B, L, E]; visible [B, N]: keys that exist (None: all)."""
        mixed = attend(self._split(self.query(x)), keys, values, visible, self.dropout if self.training else 0.0)
        return self.output_dropout(self.proj(rearrange(mixed, "b h n e -> b n (h e)")))


class Block(nn.Module):
    """Pre-norm attention and MLP, each added to its input: among the ids themselves, or to the words."""

    def __init__(self, width: int, heads: int, ff_rate: int, dropout: float, cross: bool = False):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ln3 = nn.LayerNorm(width) if cross else None  # of the words
        self.attn = Attention(width, heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, ff_rate * width), nn.GELU(), nn.Linear(ff_rate * width, width), nn.Dropout(dropout)
        )

    def read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, N, E / H] of words [B, N, E], for `forward`."""
        return self.attn.keys_values(self.ln3(words))

    def forward(self, x: Tensor, visible: Tensor | None, words: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """x [B, L, E]. words: what `read` gave, for cross-attention; visible [B, N]: of these, or of x itself."""
        normal = self.ln1(x)
        x = x + self.attn(normal, *(words or self.attn.keys_values(normal)), visible)
        return x + self.mlp(self.ln2(x))


class Condition(NamedTuple):
    """Sentences as the transformer sees them, which is the same at every step of sampling."""

    sentence: Tensor  # [B, E]
    words: tuple[tuple[Tensor, Tensor], ...]  # keys and values [B, H, N, E / H] for each block of cross-attention
    word_mask: Tensor | None  # [B, N] words that exist; None: all

    def select(self, rows: Tensor) -> "Condition":
        """Those of rows [R]; a row may come several times."""
        words = tuple((keys[rows], values[rows]) for keys, values in self.words)
        return Condition(self.sentence[rows], words, None if self.word_mask is None else self.word_mask[rows])


class MaskedTransformer(nn.Module):
    """(ids, sentence, words, visible) to logits. The codebooks [parts, K, C / parts] are the tokenizer's, and frozen.

    With two parts the ids have a last axis, [upper | lower]; any of them may be MASK, and upper codes are predicted.
    """

    def __init__(self, config: TransformerConfig, codebooks: Tensor | None = None):
        super().__init__()
        self.config = config
        width = config.width
        sizes = (width, config.heads, config.ff_rate, config.dropout)
        part_dim = config.code_dim // config.parts
        self.register_buffer("codebooks", torch.zeros(config.parts, config.codes, part_dim))
        if codebooks is not None:
            self.codebooks.copy_(codebooks)
        self.learn_tok_emb = nn.Embedding(SPECIAL_IDS, part_dim)  # END, PAD, MASK
        self.to_emb = nn.Linear(config.code_dim, width)
        self.cond_emb = nn.Linear(config.text_dim, width)
        self.word_emb = nn.Linear(config.text_dim, width)
        self.cross_att = nn.ModuleList(Block(*sizes, cross=True) for _ in range(config.local_layers))
        self.blocks = nn.ModuleList(Block(*sizes) for _ in range(2 * config.layers - config.local_layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.codes, bias=False)
        self.register_buffer("positions", sinusoids(config.row_length + 1, width), persistent=False)
        self.apply(_initialise)

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L, E]: a code takes its codebook vector, END, PAD and MASK a learned one; parts stand side by side."""
        special = self.learn_tok_emb.weight.to(self.codebooks.dtype)
        vectors = [
            F.embedding(part_ids, torch.cat((codebook, special)))
            for part_ids, codebook in zip(ids.unbind(-1), self.codebooks)
        ]
        return self.to_emb(torch.cat(vectors, dim=-1))

    def condition(self, sentence: Tensor, words: Tensor, word_mask: Tensor | None = None) -> Condition:
        """What `features` wants of text: sentence [B, S], words [B, N, S], word_mask [B, N] (default: all exist)."""
        words = self.word_emb(words) if self.cross_att else words  # [B, N, E]
        keys_values = tuple(block.read(words) for block in self.cross_att)
        return Condition(self.cond_emb(sentence), keys_values, word_mask if self.config.mask_words else None)

    def features(self, ids: Tensor, condition: Condition, visible: Tensor | None = None) -> Tensor:
        """[B, L, E] of ids [B, L] (or [B, L, parts]): `head` of any of them gives its logits.

        visible [B, L]: ids that exist (default: all). Raises ValueError for a row longer than the model's.
        """
        if ids.shape[1] > self.config.row_length:
            raise ValueError(f"a row has at most {self.config.row_length} ids, not {ids.shape[1]}")
        length = ids.shape[1]
        x = self.embed(ids if ids.ndim == 3 else ids[..., None])  # [B, L, E]
        if self.cross_att:
            x = x + self.positions[:length]
            for block, words in zip(self.cross_att, condition.words):
                x = block(x, condition.word_mask, words)
        x = torch.cat((condition.sentence[:, None], x), dim=1) + self.positions[: length + 1]  # [B, 1 + L, E]
        visible = None if visible is None else F.pad(visible, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, visible)
        return self.ln_f(x[:, 1:])

    def forward(
        self,
        ids: Tensor,
        sentence: Tensor,
        words: Tensor,
        visible: Tensor | None = None,
        word_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, L, K] of ids [B, L] (or [B, L, parts]) given sentence [B, S] and words [B, N, S].

        visible [B, L]: ids that exist (default: all but PAD). word_mask [B, N]: words that do (default: all).
        Raises ValueError for a row longer than the model's.
        """
        if visible is None:
            visible = predicted(ids) != pad_id(self.config.codes)
        return self.head(self.features(ids, self.condition(sentence, words, word_mask), visible))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Stage2(NamedTuple):
    """A stage-2 file: the transformer, its text encoder's part of the file (None in the released ones), the dataset."""

    model: MaskedTransformer
    text: dict | None
    dataset: str | None


def transformer_checkpoint(model: MaskedTransformer, text: dict, dataset: str) -> dict:
    """What `load_stage2` reads: weights, config, text encoder, dataset's name."""
    return {"trans": model.state_dict(), "config": asdict(model.config), "text": text, "dataset": dataset}


@reads_checkpoint()
def load_stage2(path: str | Path, device: str | torch.device = "cpu") -> Stage2:
    """A transformer ready for use, from a checkpoint of ours or of the published layout (spec/model.md 5).

    Raises ValueError for a file that is no stage-2 checkpoint.
    """
    content = load_checkpoint(path)
    if not isinstance(content.get("trans"), dict):
        raise ValueError(
            f"{path} is no stage-2 checkpoint: it has no 'trans' ({', '.join(map(str, list(content)[:5]))})"
        )
    state, config = content["trans"], content.get("config")
    if config is None:
        state, config = from_published(state, path)
    else:
        config = build_config(TransformerConfig, config, path)
    model = MaskedTransformer(config)
    load_state(model, state, path)
    return Stage2(model.to(device).eval(), content.get("text"), content.get("dataset"))


def load_transformer(path: str | Path, device: str | torch.device = "cpu") -> MaskedTransformer:
    """The transformer of a stage-2 file, without its text encoder."""
    return load_stage2(path, device).model


def from_published(state: dict[str, Tensor], path: str | Path) -> tuple[dict[str, Tensor], TransformerConfig]:
    """Our names and the sizes of a released checkpoint, read off its names and shapes.

    The number of heads is in no shape: widths of 64 a head, as released, except in the small files made for tests.
    """
    try:
        width, text_dim = state["trans_base.cond_emb.weight"].shape
        quantizer = "trans_base.vqvae.vqvae.quantizer"
        halves = any(name.startswith("trans_base.vqvae.vqvae.encoder_upper.") for name in state)
        ends = ("_upper", "_lower") if halves else ("",)
        codebooks = torch.stack([state[f"{quantizer}{end}.codebook"] for end in ends])
        row_length = len(state["trans_base.pos_embed.embed"]) - 1
        hidden = len(state["trans_base.blocks.0.mlp.0.weight"])
    except KeyError as error:
        raise ValueError(f"{path} is no stage-2 checkpoint: it lacks {error}") from error
    base, layers, local = (
        len({name.split(".")[2] for name in state if name.startswith(prefix)})
        for prefix in ("trans_base.blocks.", "trans_head.blocks.", "trans_base.cross_att.")
    )
    ours = {"codebooks": codebooks}
    for name, value in state.items():
        stack, _, rest = name.partition(".")
        if rest.startswith(("vqvae.", "pos_embed")) or rest.endswith("attn.mask"):
            continue  # the tokenizer again, fixed sinusoids, and tensors that nothing reads
        if stack == "trans_head" and rest.startswith("blocks."):
            number, rest = rest.split(".", 2)[1:]
            rest = f"blocks.{base + int(number)}.{rest}"
        ours[rest] = value
    config = TransformerConfig(
        codes=codebooks.shape[1], code_dim=len(codebooks) * codebooks.shape[2], text_dim=text_dim, width=width,
        heads=max(1, width // 64) if width >= 256 else 4, layers=layers, local_layers=local, ff_rate=hidden // width,
        row_length=row_length, parts=len(codebooks), mask_words=False,
    )  # fmt: skip
    return ours, config
