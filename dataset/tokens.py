"""Motion as ids with its captions, for stage 2: every clip is encoded once, batches are drawn from memory.

Axes: B batch, L ids. Ids of the upper-body tokenizer have a last axis [upper | lower].
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dataset.humanml import Clip
from models.ids import make_rows, pad_id
from models.vqvae import VQVAE
from utils.arrays import read_array
from utils.files import write_text, write_whole

POOL = 8  # batches
# Clips encoded at once. On a CPU more are slower: what passes between layers no longer fits its caches.
CLIPS_ON_CPU, CLIPS_ON_GPU = 32, 128


def shifted_clips(clips: list[Clip], shifts: int) -> list[Clip]:
    """Every clip `shifts` times: as it is, then without its first frame (named NAME+1), without its first two ...

    A tokenizer that makes one id of four frames sees the same motion in four ways.
    """
    return [
        replace(clip, name=f"{clip.name}+{shift}", motion=clip.motion[shift:]) if shift else clip
        for shift in range(shifts)
        for clip in clips
    ]


@torch.no_grad()
def encode_clips(model: VQVAE, clips: list[Clip], device: torch.device, batch: int | None = None) -> list[Tensor]:
    """Ids [L] (or [L, parts]) of every clip, in the clips' order: clips of like length share a padded batch.

    The last frames that do not fill a token are left out.
    """
    unit = model.config.frames_per_token
    batch = batch or (CLIPS_ON_CPU if device.type == "cpu" else CLIPS_ON_GPU)
    order = sorted(range(len(clips)), key=lambda i: len(clips[i].motion))
    found: list[Tensor] = [torch.empty(0)] * len(clips)
    for first in tqdm(range(0, len(order), batch), desc="encoding", unit="batch", leave=False, disable=None):
        rows = order[first : first + batch]
        lengths = torch.tensor([len(clips[i].motion) // unit * unit for i in rows], device=device)
        motion = [torch.from_numpy(clips[i].motion[:length]) for i, length in zip(rows, lengths.tolist())]
        motion = torch.nn.utils.rnn.pad_sequence(motion, batch_first=True).to(device)
        ids = model.encode(model.normalise(motion), lengths).cpu()
        for i, row, length in zip(rows, ids, lengths.tolist()):
            found[i] = row[: length // unit].clone()
    return found


def codebook_tokens(model: VQVAE, clips: list[Clip], checkpoint: str | Path, device: torch.device) -> list[Tensor]:
    """Ids of every clip, from the files codebook/NAME.npy beside the tokenizer's checkpoint.

    What is not there yet is encoded and written; another checkpoint, other motion under a name, or other ids than were
    written make the file anew.
    """
    folder = Path(checkpoint).parent / "codebook"
    model_digest = hashlib.sha256(Path(checkpoint).read_bytes()).digest()
    index = folder / "index.json"
    known = _read_index(index)
    found: dict[str, Tensor] = {}
    for clip in clips:
        with suppress(ValueError):  # a file that is not there, or damaged, is written again
            ids = torch.from_numpy(read_array(folder / f"{clip.name}.npy").astype(np.int64))
            if known.get(clip.name) == _key(model_digest, clip, ids):
                found[clip.name] = ids
    missing = [clip for clip in clips if clip.name not in found]
    for clip, ids in zip(missing, encode_clips(model, missing, device)):
        found[clip.name] = ids
        write_whole(folder / f"{clip.name}.npy", lambda path, x=ids: np.save(path, x.numpy().astype(np.int32)))
    if missing:  # the index is written last: a file that it does not name is written again
        new = {clip.name: _key(model_digest, clip, found[clip.name]) for clip in missing}
        write_text(index, json.dumps({**known, **new}))
    return [found[clip.name] for clip in clips]


def _read_index(path: Path) -> dict[str, str]:
    """Keys by name; none where the index is not there, or damaged."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(model_digest: bytes, clip: Clip, ids: Tensor) -> str:
    """Changes with the tokenizer, with the clip's motion, and with the ids: two tokenizers may share the folder, and a
    run that was killed leaves ids of the one in an index of the other."""
    checksums = [zlib.crc32(np.ascontiguousarray(array)) for array in (clip.motion, ids.numpy())]
    return hashlib.blake2b(model_digest + repr((checksums, ids.shape)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class TokenBatch:
    rows: Tensor  # [B, L] or [B, L, parts] motion ids, END, PAD
    lengths: Tensor  # [B] motion tokens
    texts: list[str]


class TokenRows:
    """All clips' ids and captions, and draws of batches from them."""

    def __init__(
        self, clips: list[Clip], ids: list[Tensor], codes: int, longest: int, weights: Tensor | None = None,
        least_share: float = 1.0,
    ):  # fmt: skip
        """weights [number of clips]: how likely each is drawn (default: evenly).

        Rows for training are random stretches of their clips, at least `least_share` of each: where clips are few, the
        length of a row would else tell which clip it is, and sentences would count for less than lengths.
        """
        self.least_share = least_share
        self.weights = torch.ones(len(clips)) if weights is None else weights
        self.codes, self.longest = codes, longest
        self.captions = [[caption.text for caption in clip.captions] for clip in clips]
        self.ids = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad_id(codes))
        self.lengths = torch.tensor([len(row) for row in ids]).clamp(max=longest)

    def draw(self, batch: int, generator: torch.Generator, augment: bool = True) -> TokenBatch:
        """Rows of clips drawn by weight, a caption for each; `augment` drops an end token of one in three."""
        clips = torch.multinomial(self.weights, batch, replacement=True, generator=generator)
        return self._rows(clips, generator, augment)

    def batches(
        self, batch: int, generator: torch.Generator, waiting: list[Tensor] | None = None
    ) -> Iterator[TokenBatch]:
        """Batches without end for training, rows drawn and changed as by `draw`.

        Rows are drawn for POOL batches at once, and those of like length put together: half of what a batch of mixed
        lengths computes is padding. `waiting` is where the clips of those batches are kept that are still to come: with
        it and the generator's state, batches go on where they were.
        """
        waiting = [] if waiting is None else waiting
        while True:
            if not waiting:
                clips = torch.multinomial(self.weights, POOL * batch, replacement=True, generator=generator)
                chunks = clips[self.lengths[clips].argsort(stable=True)].chunk(POOL)
                waiting.extend(chunks[i].clone() for i in torch.randperm(POOL, generator=generator).tolist())
            yield self._rows(waiting.pop(0), generator, augment=True)

    def _rows(self, clips: Tensor, generator: torch.Generator, augment: bool) -> TokenBatch:
        batch = len(clips)
        lengths, start = self.lengths[clips], torch.zeros_like(clips)
        if augment and self.least_share < 1:
            share, place = torch.rand(2, batch, generator=generator)
            whole, share = lengths, self.least_share + (1 - self.least_share) * share
            lengths = (share * whole).ceil().long()
            start = (place * (whole - lengths + 1)).long()
        if augment:
            shorter = (torch.rand(batch, generator=generator) < 1 / 3) & (lengths > 1)
            first = torch.rand(batch, generator=generator) < 0.5
            lengths, start = lengths - shorter.long(), start + (shorter & first).long()
        size = int(lengths.max())
        places = (start[:, None] + torch.arange(size)).clamp(max=self.ids.shape[1] - 1)
        ids = self.ids[clips[:, None], places]
        which = torch.rand(batch, generator=generator).tolist()
        texts = [self.captions[i][int(u * len(self.captions[i]))] for i, u in zip(clips.tolist(), which)]
        return TokenBatch(make_rows(ids, lengths, self.codes, size + 1), lengths, texts)
