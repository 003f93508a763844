"""Features of a training set's captions from a frozen text encoder: computed once, kept on disk, looked up by sentence.

Only the vectors of words that exist are kept, one after another, so that padding costs nothing; for a transformer that
attends to padding (the released ones), padding counts as words. Axes as in `models/text_encoder.py`.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.text_encoder import TextFeatures
from utils.arrays import read_array
from utils.files import write_whole


class TextTable:
    """`table(texts)` gives what the encoder would, without running it; padding that is not kept is left out."""

    def __init__(self, texts: list[str], sentences: np.ndarray, words: np.ndarray, ends: np.ndarray, device):
        self.place = {text: i for i, text in enumerate(texts)}
        self.sentences, self.words, self.ends, self.device = sentences, words, ends, device

    def __call__(self, texts: list[str]) -> TextFeatures:
        """Features of B sentences of the table. Raises KeyError for another."""
        rows = [self.place[text] for text in texts]
        words = [
            torch.from_numpy(self.words[self.ends[i - 1] if i else 0 : self.ends[i]].astype(np.float32)) for i in rows
        ]
        lengths = torch.tensor([len(row) for row in words])
        padded = torch.nn.utils.rnn.pad_sequence(words, batch_first=True)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        sentences = torch.from_numpy(self.sentences[rows].astype(np.float32))
        return TextFeatures(*(x.to(self.device) for x in (sentences, padded, mask)))


def text_table(
    encoder, texts: Iterable[str], folder: str | Path, device: torch.device, batch: int = 256, padding: bool = False
) -> TextTable:
    """The table of all `texts` (and the empty one), read from `folder` where an earlier run left it there.

    Its file name is a digest of the encoder's source and of the texts: another encoder or caption makes another table.
    `padding`: keep the vectors of padding too, as words.
    """
    texts = sorted({*texts, ""})
    key = hashlib.sha256("\n".join([encoder.source, *texts]).encode()).hexdigest()[:16]
    path = Path(folder) / f"{encoder.kind}{'_padded' if padding else ''}_{key}"
    files = {name: Path(f"{path}_{name}.npy") for name in ("sentences", "words", "ends")}
    loaded = _load(files, len(texts))
    if loaded is None:
        arrays = _compute(encoder, texts, batch, padding)
        for name, array in arrays.items():
            write_whole(files[name], lambda temporary, x=array: np.save(temporary, x))
        loaded = _load(files, len(texts))
    if loaded is None:
        raise ValueError(f"{path}_*.npy were damaged while they were read: run this again")
    return TextTable(texts, **loaded, device=device)


def _load(files: dict[str, Path], texts: int) -> dict[str, np.ndarray] | None:
    """The arrays of a table of so many texts; None where a file is not there, or they do not belong together.

    There is no checksum of the vectors: all of them would have to be read.
    """
    try:
        found = {name: read_array(file, mmap_mode="r") for name, file in files.items()}
    except ValueError:
        return None
    sentences, words, ends = (found[name] for name in ("sentences", "words", "ends"))
    if not (sentences.dtype == words.dtype == np.float16 and ends.dtype.kind == "i"):
        return None
    if [array.ndim for array in (sentences, words, ends)] != [2, 2, 1] or not len(sentences) == len(ends) == texts:
        return None
    lasting = np.diff(ends, prepend=0)  # words of each text
    return found if (lasting > 0).all() and ends[-1] == len(words) else None


def _compute(encoder, texts: list[str], batch: int, padding: bool) -> dict[str, np.ndarray]:
    """Half-precision sentences [N, S], words [all of them, S], and where each sentence's words end [N]."""
    sentences, words, counts = [], [], []
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # memory: the longest come last, together
    for first in tqdm(range(0, len(texts), batch), desc="text features", unit="batch", disable=None):
        features = encoder([texts[i] for i in order[first : first + batch]])
        sentences += list(features.sentence.half().cpu().numpy())
        kept = features.mask | padding
        counts += kept.sum(dim=1).tolist()
        words += [row[mask].half().cpu().numpy() for row, mask in zip(features.words, kept)]
    back = np.argsort(order)
    return {
        "sentences": np.stack([sentences[i] for i in back]),
        "words": np.concatenate([words[i] for i in back]),
        "ends": np.cumsum([counts[i] for i in back]),
    }
