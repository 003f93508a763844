"""The judge: texts and motions as points of one space, near each other where they belong together
(spec/evaluation.md 1). It lives in the space of its own statistics, which are not in the published file.

Axes: B batch, N words, T frames, L steps = T // 4, D features, E embedding, V vocabulary, W width of a word. Sequences
are [B, T, channels] outside of the convolutions.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from models.ids import length_mask
from utils.checkpoint import build_config, load_checkpoint, load_state, reads_checkpoint

CONTACTS = 4  # the last features, which the judge does not see
FRAMES_PER_STEP = 4  # of the movement encoder, whatever the tokenizer's
WINDOW = 196  # frames to which the published evaluation pads its motions
PARTS = ("movement_encoder", "text_encoder", "motion_encoder")


@dataclass(frozen=True)
class EvaluatorConfig:
    dim: int = 263  # D, contacts included
    movement_hidden: int = 512
    movement: int = 512  # width of a step
    word: int = 300
    pos: int = 15  # classes of words
    text_hidden: int = 512
    motion_hidden: int = 1024
    embedding: int = 512  # E


@dataclass(frozen=True)
class WordVectors:
    """What words mean to the text encoder: read (GloVe) or learned with the judge. `unk` stands for all others."""

    words: tuple[str, ...]  # V of them
    vectors: Tensor  # [V, W]

    @cached_property
    def row(self) -> dict[str, int]:
        """Of each word."""
        return {word: row for row, word in enumerate(self.words)}

    def __post_init__(self):
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words):
            raise ValueError(f"{len(self.words)} words and vectors of shape {list(self.vectors.shape)}")
        if "unk" not in self.row:
            raise ValueError("no vector for 'unk', which stands for unknown words")


class MovementEncoder(nn.Module):
    """Features to steps of four frames. The layers' numbers are those of the released checkpoints."""

    def __init__(self, dim: int, hidden: int, width: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(dim, hidden, 4, stride=2, padding=1), nn.Dropout(0.2), nn.LeakyReLU(0.2),
            nn.Conv1d(hidden, width, 4, stride=2, padding=1), nn.Dropout(0.2), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.out_net = nn.Linear(width, width)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D - 4], zero past lengths [B], to [B, L, width] as if it were padded with zeros to 196 frames.

        The last step of a row looks 3 frames further, through a half step that lies past the row's end. A row of 196
        has none there, for there the published sequences end.
        """
        x = nn.functional.pad(x.transpose(1, 2), (0, 2))  # [B, D - 4, T + 2]: room for that half step
        half = self.main[:3](x)  # [B, hidden, T // 2 + 1]
        there = length_mask(lengths.clamp(min=WINDOW) // 2, half.shape[-1])
        return self.out_net(self.main[3:](half * there[:, None]).transpose(1, 2))


class SequenceEncoder(nn.Module):
    """A sequence to one point: the last states of a GRU from both sides."""

    def __init__(self, width: int, hidden: int, embedding: int):
        super().__init__()
        self.input_emb = nn.Linear(width, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, embedding)
        )
        self.hidden = nn.Parameter(torch.randn(2, 1, hidden))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, L, width] of lengths [B] to [B, E]."""
        packed = pack_padded_sequence(self.input_emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.expand(-1, len(x), -1).contiguous())  # [2, B, hidden]
        return self.output_net(torch.cat((last[0], last[1]), dim=-1))


class TextEncoder(SequenceEncoder):
    """The same of words: a vector and a class for each."""

    def __init__(self, word: int, pos: int, hidden: int, embedding: int):
        super().__init__(word, hidden, embedding)
        self.pos_emb = nn.Linear(pos, word)

    def forward(self, words: Tensor, pos: Tensor, lengths: Tensor) -> Tensor:
        """Words [B, N, 300] and their classes [B, N, 15], of lengths [B], to [B, E]."""
        return super().forward(words + self.pos_emb(pos), lengths)


class Evaluator(nn.Module):
    """Rows of a batch give what they would give alone, whatever lies past their lengths.

    `words` are the vectors learned with it; None for a judge that was trained on vectors of another file.
    """

    def __init__(self, config: EvaluatorConfig):
        super().__init__()
        self.config = config
        self.words: WordVectors | None = None
        self.dataset: str | None = None  # whose motion it judges, where its file says so
        self.movement_encoder = MovementEncoder(config.dim - CONTACTS, config.movement_hidden, config.movement)
        self.text_encoder = TextEncoder(config.word, config.pos, config.text_hidden, config.embedding)
        self.motion_encoder = SequenceEncoder(config.movement, config.motion_hidden, config.embedding)
        self.register_buffer("mean", torch.zeros(config.dim), persistent=False)
        self.register_buffer("std", torch.ones(config.dim), persistent=False)

    def set_statistics(self, mean: Tensor | None, std: Tensor | None) -> None:
        """Take mean and std [D] of the space it lives in; None leaves them. ValueError for another width."""
        for name, value in (("mean", mean), ("std", std)):
            if value is not None:
                value, own = torch.as_tensor(value), getattr(self, name)
                if value.shape != own.shape:
                    raise ValueError(f"statistics of {list(value.shape)} for a judge of {len(own)} features")
                own.copy_(value)

    @property
    def has_statistics(self) -> bool:
        """Whether it knows its space: the published files do not say it."""
        return bool((self.std != 1).any())

    def embed_text(self, word_vectors: Tensor, pos_one_hot: Tensor, lengths: Tensor) -> Tensor:
        """[B, E] of word vectors [B, N, 300], their classes [B, N, 15] and lengths [B]: sos and eos, no padding."""
        lengths = _checked(word_vectors, lengths, self.config.word, 1, "words")
        _checked(pos_one_hot, lengths, self.config.pos, 1, "word classes")
        return self.text_encoder(word_vectors, pos_one_hot, lengths)

    def embed_motion(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """[B, E] of motion [B, T, D], in the judge's space, of lengths [B] in frames, which make lengths // 4 steps."""
        lengths = _checked(motion, lengths, self.config.dim, FRAMES_PER_STEP, "frames")
        motion = motion[:, : int(lengths.max()), :-CONTACTS]
        motion = motion.masked_fill(~length_mask(lengths, motion.shape[1])[..., None], 0)
        return self.motion_encoder(self.movement_encoder(motion, lengths), lengths // FRAMES_PER_STEP)


def _checked(rows: Tensor, lengths: Tensor, width: int, least: int, what: str) -> Tensor:
    """The lengths, beside the rows; ValueError where rows [B, T, width] and lengths [B] do not fit."""
    if rows.ndim != 3 or rows.shape[2] != width:
        raise ValueError(f"the judge wants {what} of [rows, {what}, {width}], not {list(rows.shape)}")
    lengths = torch.as_tensor(lengths, device=rows.device)
    if lengths.shape != rows.shape[:1] or not len(lengths):
        raise ValueError(f"{len(rows)} rows of {what} and lengths of shape {list(lengths.shape)}")
    if lengths.min() < least or lengths.max() > rows.shape[1]:
        raise ValueError(f"lengths must be {least} to {rows.shape[1]} {what}: {lengths.min()} to {lengths.max()}")
    return lengths


def evaluator_checkpoint(model: Evaluator, dataset: str) -> dict:
    """What `load_evaluator` reads: weights under the published names, config, statistics, the dataset's name, and words
    and vectors where they were learned."""
    learned = model.words and {"words": list(model.words.words), "vectors": model.words.vectors.detach()}
    return {
        **{part: getattr(model, part).state_dict() for part in PARTS},
        "config": asdict(model.config), "mean": model.mean, "std": model.std, "dataset": dataset, **(learned or {}),
    }  # fmt: skip


@reads_checkpoint()
def load_evaluator(
    path: str | Path, device: str | torch.device = "cpu", mean: Tensor | None = None, std: Tensor | None = None
) -> Evaluator:
    """The judge of a checkpoint of ours or of a published `finest.tar`, ready for use. ValueError for any other file.

    Sizes come from the file. Statistics come from the file too, else as given, else they are 0 and 1.
    """
    content = load_checkpoint(path)
    absent = [part for part in PARTS if not isinstance(content.get(part), dict)]
    if absent:
        raise ValueError(
            f"{path} is no judge: it has no {', '.join(absent)} ({', '.join(map(str, list(content)[:5]))})"
        )
    state = {f"{part}.{name}": value for part in PARTS for name, value in content[part].items()}
    config = build_config(EvaluatorConfig, content["config"], path) if "config" in content else None
    model = Evaluator(config or infer_config(state, path))
    load_state(model, state, path)
    model.dataset = content.get("dataset")
    try:
        model.set_statistics(content.get("mean", mean), content.get("std", std))
        if "words" in content:
            model.words = WordVectors(tuple(content["words"]), content["vectors"].float().to(device))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} was written by another version: {error}") from error
    return model.to(device).eval()


def infer_config(state: dict[str, Tensor], path: str | Path) -> EvaluatorConfig:
    """The sizes of a published judge, read off its shapes."""

    def sizes(name: str, axes: int) -> torch.Size:
        value = state.get(name)
        if not isinstance(value, Tensor):
            raise ValueError(f"{path} is no judge: missing {name}")
        if value.ndim != axes or not value.numel():
            raise ValueError(f"{path} is no judge: wrong shape: {name} is {list(value.shape)}")
        return value.shape

    movement_hidden, seen, _ = sizes("movement_encoder.main.0.weight", 3)
    word, pos = sizes("text_encoder.pos_emb.weight", 2)
    embedding, text_hidden = sizes("text_encoder.output_net.3.weight", 2)
    return EvaluatorConfig(
        dim=seen + CONTACTS,
        movement_hidden=movement_hidden,
        movement=sizes("movement_encoder.main.3.weight", 3)[0],
        word=word,
        pos=pos,
        text_hidden=text_hidden,
        motion_hidden=sizes("motion_encoder.output_net.3.weight", 2)[1],
        embedding=embedding,
    )
