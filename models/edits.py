"""Editing: a choice of which ids are given (spec/model.md 4). Parts of a motion made anew, and motions in a row.

The evaluator's way through it:

    ranges = task_ranges("inbetween", tokens)                        # which tokens are made, [(first, end), ...]
    generated = [range_mask(ranges, tokens), ...]
    rows = encode_kept(pipeline.tokenizer, [features, ...], generated)   # ids, MASK where they are made
    ids = fill(pipeline, rows, texts, seed=0)

or `edit`, which does all of it and joins the made frames to those that were kept.

Axes: B motions, T frames, L tokens, D features (in the dataset's space, not normalised), J joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.ids import mask_id, token_count
from models.pipeline import BATCH, MotionPipeline, generator_of
from models.vqvae import VQVAE, decode_long
from utils.motion import features_to_joints, plant_feet
from utils.seams import BLEND, bend_root, join_kept, ranges_of

Ranges = Sequence[tuple[int, int]]  # first and end (not included) of each stretch

TASKS = (
    "inbetween",
    "outpaint",
    "prefix",
    "suffix",
)  # named after what is made, but for prefix and suffix: what is kept
LEAST_FRAMES = 8
SIDES = ("both", "left", "right")  # whose sentence a transition follows


# --- Which tokens are made --------------------------------------------------------------------------------------------


def task_ranges(task: str, tokens: int) -> list[tuple[int, int]]:
    """The tokens that a task makes of a motion of so many: [(first, end), ...].

    inbetween keeps the first and the last quarter, outpaint the middle half, prefix the first half, suffix the last
    (spec/model.md 4; shares of a token are rounded down, but something is kept and something made on every side).
    Raises ValueError for another task, or a motion too short for it.
    """
    least = {"inbetween": 3, "outpaint": 3, "prefix": 2, "suffix": 2}
    if task not in least:
        raise ValueError(f"unknown edit {task!r}: choose one of {', '.join(TASKS)}")
    if tokens < least[task]:
        raise ValueError(f"{task} needs a motion of {least[task]} tokens or more, this one has {tokens}")
    first, last, half = max(1, tokens // 4), min(tokens - 1, 3 * tokens // 4), tokens // 2
    return {
        "inbetween": [(first, last)],
        "outpaint": [(0, first), (last, tokens)],
        "prefix": [(half, tokens)],
        "suffix": [(0, half)],
    }[task]


def task_frames(task: str, frames: int, unit: int) -> list[tuple[int, int]]:
    """`task_ranges` in frames, of a motion of `frames`, `unit` frames a token. Raises ValueError as that does."""
    check_frames(frames)
    ranges = task_ranges(task, token_count(frames, unit))
    return [(first * unit, min(end * unit, frames)) for first, end in ranges]


def range_mask(ranges: Ranges, size: int) -> Tensor:
    """[size] bool: inside one of the ranges. Raises ValueError for one that is empty or reaches outside."""
    mask = torch.zeros(size, dtype=torch.bool)
    for first, end in ranges:
        if not 0 <= first < end <= size:
            raise ValueError(f"the range {first}:{end} is not within the motion, which has frames 0:{size}")
        mask[first:end] = True
    return mask


def token_mask(frame_mask: Tensor, unit: int) -> Tensor:
    """[L] bool of a frames' mask [T]: a token any frame of which is made is made as a whole."""
    padded = torch.zeros(token_count(len(frame_mask), unit) * unit, dtype=torch.bool)
    padded[: len(frame_mask)] = frame_mask
    return padded.unflatten(0, (-1, unit)).any(dim=1)


# --- Ids: the kept ones from the motion, the others from the transformer ----------------------------------------------


@torch.no_grad()
def encode_kept(tokenizer: VQVAE, motions: Sequence[Tensor], generated: Sequence[Tensor]) -> list[Tensor]:
    """Ids [L] of each motion [T, D], MASK where `generated` [L] (bool) is True.

    Every stretch of kept frames is encoded on its own: the encoder sees some hundred frames around each token, and
    through the whole motion what is hidden would leak into what is given.
    """
    unit, codes = tokenizer.config.frames_per_token, tokenizer.config.codes
    rows = [torch.full((len(mask),), mask_id(codes)) for mask in generated]
    places = [(i, *stretch) for i, mask in enumerate(generated) for stretch in ranges_of(~mask)]
    for batch in (places[first : first + BATCH] for first in range(0, len(places), BATCH)):
        stretches = [motions[i][first * unit : end * unit] for i, first, end in batch]
        lengths = torch.tensor([len(x) for x in stretches], device=tokenizer.mean.device)
        padded = torch.nn.utils.rnn.pad_sequence(stretches, batch_first=True).to(tokenizer.mean)
        ids = tokenizer.encode(tokenizer.normalise(padded), lengths).cpu()
        for (i, first, end), found in zip(batch, ids):
            rows[i][first:end] = found[: end - first]
    return rows


def fill(
    pipeline: MotionPipeline, rows: Sequence[Tensor], texts: Sequence[str], seed: int = 0, temperature: float = 1.0,
    cfg_scale: float | None = None, steps: int | None = None, samples: Sequence[int] | None = None,
    second_texts: Sequence[str] | None = None,
) -> list[Tensor]:  # fmt: skip
    """Rows of ids [L] with every MASK filled in, guided by a sentence each ("" for none), or by two alike.

    A row's result depends on the row, its sentence, the seed and its number in `samples` (0) alone. cfg_scale None
    takes the model's usual one. A row may be longer than the transformer's: then it sees as much around the MASKs as
    it can. Raises ValueError where the MASKs are too far apart for that.
    """
    mask, longest = mask_id(pipeline.transformer.config.codes), pipeline.transformer.config.row_length - 1
    filled = [row.clone() for row in rows]
    windows = [_window(row == mask, longest, pipeline.tokenizer.config.frames_per_token) for row in rows]
    order = [i for i in range(len(rows)) if (rows[i] == mask).any()]
    sizes = [windows[i].stop - windows[i].start for i in order]
    for places in pipeline.batches(sizes, [texts[i] for i in order]):
        chosen = [order[place] for place in places]
        seen = [rows[i][windows[i]] for i in chosen]
        lengths = torch.tensor([len(row) for row in seen], device=pipeline.device)
        given = torch.nn.utils.rnn.pad_sequence(seen, batch_first=True).to(pipeline.device)
        conditions = [[said[i] for i in chosen] for said in (texts, second_texts) if said is not None]
        keys = [f"{seed}|{samples[i] if samples else 0}|{texts[i]}|{rows[i].tolist()}" for i in chosen]
        generators = [generator_of(key) for key in keys]
        ids = pipeline.fill_ids(given, lengths, conditions, generators, temperature, cfg_scale, steps).cpu()
        for i, row in zip(chosen, ids):
            filled[i][windows[i]] = row[: windows[i].stop - windows[i].start]
    return filled


def _window(masked: Tensor, longest: int, unit: int) -> slice:
    """The stretch of a row's tokens that the transformer is shown: all, or `longest` with the MASKs in the middle."""
    if len(masked) <= longest or not masked.any():
        return slice(0, len(masked))
    first, last = masked.nonzero()[[0, -1], 0].tolist()
    if last + 1 - first > longest:
        raise ValueError(
            f"the frames to be made lie {(last + 1 - first) * unit} frames apart from first to last: "
            f"these weights see {longest * unit} at once, so make them in several edits"
        )
    start = min(max(0, (first + last + 1 - longest) // 2), len(masked) - longest)
    return slice(start, start + longest)


# --- Motions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """What is asked for: frames of a motion to be made anew."""

    features: np.ndarray  # [T, D]
    ranges: Ranges  # of frames that are made
    text: str = ""
    sample: int = 0  # another number, another result


@dataclass(frozen=True)
class Edited:
    """A motion of which some frames were made."""

    text: str
    features: np.ndarray  # [T, D], not normalised
    joints: np.ndarray  # [T, J, 3] metres, y up
    ids: np.ndarray  # [L]
    generated: tuple[tuple[int, int], ...]  # frames that were made
    fps: float


def check_frames(frames: int) -> None:
    """ValueError for a motion of fewer frames than can be edited."""
    if frames < LEAST_FRAMES:
        raise ValueError(f"a motion must have {LEAST_FRAMES} frames or more to be edited, not {frames}")


def check_edit(edit: Edit, pipeline: MotionPipeline) -> None:
    """ValueError for a motion that cannot be edited, or frames that it has not."""
    shape = np.shape(edit.features)
    if len(shape) != 2 or shape[1] != pipeline.spec.dim:
        raise ValueError(f"{pipeline.spec.name} wants features [T, {pipeline.spec.dim}], not {list(shape)}")
    check_frames(shape[0])
    if not np.isfinite(np.asarray(edit.features)).all():
        raise ValueError("the motion holds nan or infinite numbers")
    if not edit.ranges:
        raise ValueError("no frames are named that should be made")
    made = range_mask(edit.ranges, shape[0])
    unit = pipeline.tokenizer.config.frames_per_token
    _window(token_mask(made, unit), pipeline.transformer.config.row_length - 1, unit)


@torch.no_grad()
def edit(
    pipeline: MotionPipeline, edits: Sequence[Edit], seed: int = 0, temperature: float = 1.0,
    cfg_scale: float | None = None, steps: int | None = None, feet: bool = True, keep_exact: bool = True,
    bend: bool = False, blend: int | None = None,
) -> list[Edited]:  # fmt: skip
    """Each motion with the frames of its ranges made anew, guided by what is kept and by its sentence.

    The hidden frames have no influence but for `bend`. With `keep_exact` kept frames come back as they were given, and
    the made ones lead from and to them, over `blend` frames; without it, all frames are the decoder's. Root features
    are velocities: what follows a made stretch keeps them, and so stands where the made stretch arrives. `bend` bends
    the made stretches instead, so that it stands where it stood; it needs `keep_exact`, and concerns stretches with
    kept frames on both sides. `feet` takes the sliding off feet that stand in made frames.

    A result depends on its edit and the seed alone, not on the others. Raises ValueError as `check_edit` and `fill` do.
    """
    if bend and not keep_exact:
        raise ValueError("bending to where the kept frames stood needs the kept frames as they were")
    for one in edits:
        check_edit(one, pipeline)
    tokenizer, unit = pipeline.tokenizer, pipeline.tokenizer.config.frames_per_token
    sources = [torch.as_tensor(np.asarray(one.features), dtype=torch.float32) for one in edits]
    made = [range_mask(one.ranges, len(source)) for one, source in zip(edits, sources)]
    rows = encode_kept(tokenizer, sources, [token_mask(mask, unit) for mask in made])
    texts, samples = [one.text for one in edits], [one.sample for one in edits]
    filled = fill(pipeline, rows, texts, seed, temperature, cfg_scale, steps, samples)
    results = []
    for one, source, mask, ids in zip(edits, sources, made, filled):
        features = decoded(pipeline, ids, len(source), feet)
        if keep_exact:
            features = join_kept(source, features, mask, pipeline.spec, BLEND if blend is None else blend)
        for first, end in ranges_of(mask) if bend else ():
            if first > 0 and end < len(source):
                features = bend_root(features, source, first, end, pipeline.spec)
        joints = features_to_joints(features, pipeline.spec).numpy() * pipeline.spec.metres_per_unit
        ranges = tuple(ranges_of(mask))
        results.append(Edited(one.text, features.numpy(), joints, ids.numpy(), ranges, pipeline.spec.fps))
    return results


def decoded(pipeline: MotionPipeline, ids: Tensor, frames: int, feet: bool) -> Tensor:
    """Features [T, D] of one row of ids [L], with feet that stand planted or not."""
    motion = decode_long(pipeline.tokenizer, ids.to(pipeline.device))
    features = pipeline.tokenizer.denormalise(motion)[:frames].cpu()
    return plant_feet(features, pipeline.spec) if feet else features


# --- Motions in a row -------------------------------------------------------------------------------------------------


@torch.no_grad()
def generate_long(
    pipeline: MotionPipeline, texts: Sequence[str], lengths: Sequence[int | None], seed: int = 0,
    temperature: float = 1.0, cfg_scale: float | None = None, steps: int | None = None, feet: bool = True,
    transition_tokens: int = 2, condition: str = "both", samples: int = 1,
) -> list[Edited]:  # fmt: skip
    """`samples` motions that show all sentences one after the other; `generated` says which frames are transitions.

    Every sentence's motion is made on its own, as `generate` makes it; then `transition_tokens` between each and the
    next, with the half of either as context, guided by the sentence of the left, the right, or both; and all is
    decoded as one. A length of None is predicted; all but the last are rounded up to whole tokens. Raises ValueError
    as `generate` does, for numbers of lengths that do not match, and for transitions that no row holds.
    """
    if condition not in SIDES:
        raise ValueError(f"a transition follows {', '.join(SIDES)}, not {condition!r}")
    if not texts or len(lengths) != len(texts):
        raise ValueError(f"{len(texts)} sentences need as many lengths, not {len(lengths)}")
    pipeline.check_transitions(transition_tokens)
    room = pipeline.transformer.config.row_length - 1
    unit, count = pipeline.tokenizer.config.frames_per_token, len(texts)
    frames = pipeline.fill_lengths(list(texts), list(lengths))
    # sample after sample: what one is does not depend on how many there are
    motions = pipeline.generate(
        list(texts) * samples, frames * samples, seed, temperature, cfg_scale, steps, feet=False
    )  # fmt: skip
    parts = [torch.from_numpy(motion.ids) for motion in motions]
    codes, pairs = pipeline.transformer.config.codes, [i for i in range(count * samples) if (i + 1) % count]
    bridges = [transition_row(parts[i], parts[i + 1], transition_tokens, room, mask_id(codes)) for i in pairs]
    left, right = ([motions[i + shift].text for i in pairs] for shift in (0, 1))
    first, second = {"both": (left, right), "left": (left, None), "right": (right, None)}[condition]
    number = [i // count for i in pairs]
    filled = fill(pipeline, [row for row, _ in bridges], first, seed, temperature, cfg_scale, steps, number, second)
    between = {i: row[at : at + transition_tokens] for i, row, (_, at) in zip(pairs, filled, bridges)}
    results = []
    for sample in range(samples):
        pieces, ranges, tokens = [], [], 0
        for i in range(sample * count, (sample + 1) * count):
            pieces += [parts[i], between[i]] if i in between else [parts[i]]
            tokens += len(parts[i])
            if i in between and transition_tokens:
                ranges.append((tokens * unit, (tokens + transition_tokens) * unit))
                tokens += transition_tokens
        ids = torch.cat(pieces)
        total = (tokens - len(parts[-1])) * unit + frames[-1]
        features = decoded(pipeline, ids, total, feet)
        joints = features_to_joints(features, pipeline.spec).numpy() * pipeline.spec.metres_per_unit
        title = ", then ".join(texts)
        results.append(Edited(title, features.numpy(), joints, ids.numpy(), tuple(ranges), pipeline.spec.fps))
    return results


def transition_row(left: Tensor, right: Tensor, count: int, room: int, mask: int) -> tuple[Tensor, int]:
    """The second half of `left` [L], `count` MASKs, the first half of `right` [R]; and where the MASKs begin.

    What is farthest from them is left out where a row of `room` ids would not hold it.
    """
    before, after = (len(left) + 1) // 2, (len(right) + 1) // 2
    after = min(after, max(room - count - before, (room - count) // 2))
    before = min(before, room - count - after)
    row = torch.cat((left[len(left) - before :], torch.full((count,), mask), right[:after]))
    return row, before
