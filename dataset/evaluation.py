"""What the judge is asked about: the protocol's test items, and items as its arrays (spec/evaluation.md 1).

Everything that is drawn is drawn from the generator that is given.

Axes: B batch, N = 22 words (sos, 20, eos), T frames, D features, W width of a word.
"""

import io
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.humanml import Caption, Clip, load_array
from models.evaluator import FRAMES_PER_STEP, WINDOW, Evaluator, WordVectors
from utils.pickles import check_pickle

BATCH = 32  # items among which R-precision ranks
MAX_WORDS = 20  # of a caption; the others do not count
SOS, EOS, UNKNOWN = "sos/OTHER", "eos/OTHER", "unk"

CLASSES = (
    "VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
    "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER",
)  # fmt: skip
CLASS_OF_WORD = {  # instead of its part of speech
    word: name
    for name, words in {
        "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
        "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
        "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
        "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower "
        "raise wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
        "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
    }.items()
    for word in words.split()
}


# --- Items ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A stretch of a clip, and one of its captions."""

    clip: Clip
    caption: Caption
    start: int
    frames: int  # a multiple of the unit

    @property
    def motion(self) -> np.ndarray:
        """[frames, D], not normalised."""
        return self.clip.motion[self.start : self.start + self.frames]


def draw_items(
    clips: list[Clip], generator: np.random.Generator, unit: int = FRAMES_PER_STEP, longest: int = WINDOW
) -> list[Item]:
    """One item a clip, in their order: one caption, the motion cut to a multiple of `unit`, at a random place.

    One time in three the motion loses a unit more, where that leaves any.
    """
    items = []
    for clip in clips:
        caption = clip.captions[generator.integers(len(clip.captions))]
        frames = min(len(clip.motion), longest) // unit * unit
        if generator.integers(3) == 0 and frames > unit:
            frames -= unit
        items.append(Item(clip, caption, int(generator.integers(len(clip.motion) - frames + 1)), frames))
    return items


def batches(items: list[Item], size: int, generator: np.random.Generator) -> list[list[Item]]:
    """Shuffled, each batch sorted by the captions' lengths, the longest first; what fills no batch is left out.

    ValueError where there is no batch at all.
    """
    if len(items) < size:
        raise ValueError(f"too few clips: {size} are needed for a batch, there are {len(items)}")
    order = generator.permutation(len(items))
    drawn = [[items[i] for i in order[first : first + size]] for first in range(0, len(items) - size + 1, size)]
    return [sorted(batch, key=lambda item: -caption_length(item.caption)) for batch in drawn]


def caption_length(caption: Caption) -> int:
    """Words that count, sos and eos included, padding not."""
    return min(len(caption.tokens), MAX_WORDS) + 2


# --- Words ------------------------------------------------------------------------------------------------------------


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dicts, numbers and text. All else in a pickle needs a class or a function, of which it has none."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_pickle(path: Path) -> Any:
    """The plain values in a pickle, without executing anything. Raises ValueError, naming the file, for others."""
    try:
        content = path.read_bytes()
        check_pickle(content)
        return _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # damaged bytes make pickle fail in every way there is
        raise ValueError(f"{path} is no pickle of plain values: {error}") from error


def read_glove(folder: str | Path, device: str | torch.device = "cpu") -> WordVectors:
    """The published judge's vectors: our_vab_{data.npy,words.pkl,idx.pkl}. ValueError where they are not right."""
    data, words, rows = (Path(folder) / f"our_vab_{name}" for name in ("data.npy", "words.pkl", "idx.pkl"))
    for path in (data, words, rows):
        if not path.is_file():
            raise ValueError(f"there is no {path}: bash dataset/prepare/download_glove.sh brings it")
    vectors, words, row = load_array(data), _read_pickle(words), _read_pickle(rows)
    if not (vectors.ndim == 2 and isinstance(words, list) and isinstance(row, dict)):
        raise ValueError(f"{folder} has no word vectors: an array of rows, a list and a dict are needed")
    for word in words:
        if not isinstance(word, str) or type(row.get(word)) is not int or not 0 <= row[word] < len(vectors):
            raise ValueError(f"{folder} has no row for the word {word!r:.40}")
    try:
        return WordVectors(tuple(words), torch.from_numpy(vectors[[row[word] for word in words]]).to(device))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def build_words(clips: list[Clip], least: int = 2) -> tuple[str, ...]:
    """`unk`, sos, eos and the words that occur in at least `least` captions: the rest teaches what `unk` means."""
    captions = [caption for clip in clips for caption in clip.captions]
    count = Counter(word for caption in captions for word in {_parts(token)[0] for token in caption.tokens})
    ends = (UNKNOWN, _parts(SOS)[0], _parts(EOS)[0])
    return (*ends, *sorted(word for word, times in count.items() if times >= least and word not in ends))


def _parts(token: str) -> tuple[str, str]:
    """Word and part of speech of word/POS."""
    word, _, part = token.rpartition("/")
    return (word, part) if word else (part, "OTHER")


# --- Arrays -----------------------------------------------------------------------------------------------------------


def text_inputs(captions: list[Caption], words: WordVectors) -> tuple[Tensor, Tensor, Tensor]:
    """What `Evaluator.embed_text` takes, on the vectors' device: [B, N, W], classes [B, N, 15] and lengths [B].

    Unknown words are `unk`, of the class OTHER, as is what fills the rows. Gradients reach the vectors.
    """
    unknown, other = words.row[UNKNOWN], CLASSES.index("OTHER")
    rows = np.full((len(captions), MAX_WORDS + 2), unknown)
    classes = np.full_like(rows, other)
    for i, caption in enumerate(captions):
        for j, token in enumerate((SOS, *caption.tokens[:MAX_WORDS], EOS)):
            word, part = _parts(token)
            if word in words.row:
                name = CLASS_OF_WORD.get(word, part)
                rows[i, j], classes[i, j] = words.row[word], CLASSES.index(name) if name in CLASSES else other
    lengths = torch.tensor([caption_length(caption) for caption in captions])
    device = words.vectors.device
    one_hot = torch.eye(len(CLASSES), device=device)[torch.from_numpy(classes).to(device)]
    return words.vectors[torch.from_numpy(rows).to(device)], one_hot, lengths.to(device)


def motion_inputs(items: list[Item], mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """What `Evaluator.embed_motion` takes, on the statistics' device: motion [B, T, D] and lengths [B].

    T is the longest's; past each row's length is zero, after normalising.
    """
    lengths = torch.tensor([item.frames for item in items], device=mean.device)
    motion = mean.new_zeros(len(items), max(item.frames for item in items), len(mean))
    for row, item in zip(motion, items):
        row[: item.frames] = (torch.tensor(item.motion, device=mean.device) - mean) / std
    return motion, lengths


@torch.no_grad()
def embed_batches(judge: Evaluator, drawn: list[list[Item]], words: WordVectors) -> tuple[Tensor, Tensor]:
    """Embeddings [items, E] of the batches' texts and of their motions, one batch after the other, on the CPU."""
    texts = [judge.embed_text(*text_inputs([item.caption for item in batch], words)) for batch in drawn]
    motions = [judge.embed_motion(*motion_inputs(batch, judge.mean, judge.std)) for batch in drawn]
    return torch.cat(texts).cpu(), torch.cat(motions).cpu()
