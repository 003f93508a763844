"""Sentences to what the transformer is conditioned on, behind one small interface.

A text encoder is a module that takes a list of sentences and returns `TextFeatures`; the empty sentence stands for "no
text". It says which words of a sentence it does not know (`unknown_words`), whether it is `frozen`, and describes
itself by `checkpoint()`, from which `build_text_encoder` makes it again. There are two: `LearnedTextEncoder` here and
`models.clip.ClipTextEncoder`.

Axes: B sentences, N words, S text width.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.ids import length_mask
from models.transformer import Block, check_heads, sinusoids
from utils.checkpoint import build_config, load_state, reads_checkpoint

MAX_WORDS = 96
NGRAM_LENGTHS = (3, 4, 5)
UNIT_SCALE = 0.5  # standard deviation of vectors not learned yet
# In training, unless there is no dropout at all:
UNIT_DROPOUT = 0.15  # a word must mean something by any of its pieces
WORD_DROPOUT = 0.1  # and a sentence without any one of its words


class TextFeatures(NamedTuple):
    sentence: Tensor  # [B, S]
    words: Tensor  # [B, N, S]
    mask: Tensor  # [B, N] bool: words that exist; never empty


def split_words(text: str) -> list[str]:
    """Lower-case words of a sentence, without punctuation; hyphens part words."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())


def word_units(word: str) -> list[str]:
    """A word as a whole and its character n-grams, "<" and ">" marking its ends: "<walk>", "<wa", "wal", ..."""
    marked = f"<{word}>"
    grams = {marked[i : i + n] for n in NGRAM_LENGTHS for i in range(len(marked) - n + 1)}
    return [marked, *sorted(grams - {marked})]


def build_vocabulary(texts: Iterable[str], least: int = 2) -> list[str]:
    """Units of the words of all texts: every whole word, and the n-grams that occur in at least `least` words."""
    words = sorted({word for text in texts for word in split_words(text)})
    count: dict[str, int] = {}
    for word in words:
        for unit in word_units(word)[1:]:
            count[unit] = count.get(unit, 0) + 1
    return [f"<{word}>" for word in words] + [unit for unit, times in count.items() if times >= least]


@dataclass(frozen=True)
class LearnedTextConfig:
    text_dim: int = 256  # S, and the width inside
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self):
        check_heads(self.text_dim, self.heads)


class LearnedTextEncoder(nn.Module):
    """A small transformer over words, trained with the model that uses it.

    A word's vector is the mean of its units', so an unseen form of a known word still means nearly the same; a word of
    which no unit is known is left out.
    """

    kind = "learned"
    frozen = False

    def __init__(self, config: LearnedTextConfig, vocabulary: list[str]):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.index = {unit: i for i, unit in enumerate(vocabulary)}
        self.units_of: dict[str, list[int]] = {}  # of the words met so far
        width = config.text_dim
        self.units = nn.Parameter(torch.randn(len(vocabulary), width) * UNIT_SCALE)
        self.ends = nn.Parameter(torch.randn(2, width) * UNIT_SCALE)  # begin and end of the sentence
        self.blocks = nn.ModuleList(Block(width, config.heads, 4, config.dropout) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(width)
        self.register_buffer("positions", sinusoids(MAX_WORDS + 2, width), persistent=False)

    @property
    def text_dim(self) -> int:
        return self.config.text_dim

    def learn_words(self, vocabulary: list[str]) -> None:
        """Take in the units that it lacks, with random vectors: those of a training set other than its first."""
        new = [unit for unit in vocabulary if unit not in self.index]
        self.vocabulary = self.vocabulary + new
        self.index = {unit: i for i, unit in enumerate(self.vocabulary)}
        self.units_of.clear()
        fresh = torch.randn(len(new), self.text_dim, device=self.units.device) * UNIT_SCALE
        self.units = nn.Parameter(torch.cat((self.units.detach(), fresh)))

    def known_words(self, text: str) -> list[list[int]]:
        """Unit indices of each word that has any. Raises ValueError for too long a sentence."""
        words = split_words(text)
        if len(words) > MAX_WORDS:
            raise ValueError(f"a sentence may have {MAX_WORDS} words, this one has {len(words)}")
        for word in words:
            if word not in self.units_of:
                self.units_of[word] = [self.index[unit] for unit in word_units(word) if unit in self.index]
        return [self.units_of[word] for word in words if self.units_of[word]]

    def unknown_words(self, text: str) -> list[str]:
        """Words of a sentence that no caption had, and more than half of whose n-grams are foreign too.

        A known n-gram may be chance: "stranger" begins as "strolls" does. Raises ValueError for too long a sentence.
        """
        self.known_words(text)
        words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())
        return [word for word in dict.fromkeys(words) if any(map(self._foreign, split_words(word) or [word]))]

    def _foreign(self, word: str) -> bool:
        whole, *grams = word_units(word)
        return whole not in self.index and (not grams or 2 * sum(gram in self.index for gram in grams) < len(grams))

    def forward(self, texts: list[str]) -> TextFeatures:
        """Features of B sentences; words are those of the sentence and its end."""
        sentences = [self.known_words(text) for text in texts]
        if self.training and self.config.dropout:
            keep = iter((torch.rand(sum(map(len, sentences))) >= WORD_DROPOUT).tolist())
            sentences = [[word for word in words if next(keep)] for words in sentences]
        vectors = torch.cat((self.ends, self._word_vectors([word for words in sentences for word in words])))
        # rows of places in `vectors`: begin, the words, end, and the end again as padding
        longest = max(map(len, sentences)) + 2
        numbers = iter(range(2, len(vectors)))
        places = [[0, *(next(numbers) for _ in words)] for words in sentences]
        places = [row + [1] * (longest - len(row)) for row in places]
        x = F.embedding(torch.tensor(places, device=vectors.device), vectors)  # [B, 1 + N, S]
        lengths = torch.tensor([len(words) + 2 for words in sentences], device=vectors.device)
        x = x + self.positions[: x.shape[1]]
        mask = length_mask(lengths, x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        x = self.ln_f(x.float())
        return TextFeatures(x[:, 0], x[:, 1:], mask[:, 1:])

    def _word_vectors(self, words: list[list[int]]) -> Tensor:
        """[number of words, S] means of the words' units."""
        if not words:
            return self.units[:0]
        flat = torch.tensor([unit for word in words for unit in word], device=self.units.device)
        counts = torch.tensor([len(word) for word in words], device=self.units.device)
        drops = self.training and self.config.dropout > 0
        vectors = F.embedding_bag(flat, self.units, torch.cumsum(counts, 0) - counts, mode="sum", per_sample_weights=(
            F.dropout(torch.ones(len(flat), device=flat.device), UNIT_DROPOUT, drops)
        ))  # fmt: skip
        # divided by the root, not the count: long words keep their strength
        return vectors / counts[:, None].sqrt()

    def checkpoint(self) -> dict:
        """All that `build_text_encoder` needs."""
        return {
            "kind": self.kind, "config": asdict(self.config), "vocabulary": self.vocabulary, "state": self.state_dict(),
        }  # fmt: skip


@reads_checkpoint(position=1)
def build_text_encoder(content: dict | None, path: str | Path, clip_model: str | None = None) -> nn.Module:
    """The encoder that a checkpoint describes; none at all, as in the released ones, means CLIP.

    clip_model says where CLIP is, instead of where the checkpoint found it. Raises ValueError for a description that is
    not understood, or a CLIP that cannot be had.
    """
    content = content or {"kind": "clip"}
    if content.get("kind") == "clip":
        from models.clip import load_clip  # which imports this module

        return load_clip(clip_model or content.get("source"))
    if content.get("kind") != LearnedTextEncoder.kind:
        raise ValueError(f"{path} wants a text encoder of unknown kind {content.get('kind')!r}")
    config = build_config(LearnedTextConfig, content.get("config"), path)
    encoder = LearnedTextEncoder(config, content.get("vocabulary", []))
    load_state(encoder, content.get("state", {}), path)
    return encoder
