"""Motions as the judge sees them, and what is measured of them (spec/evaluation.md 1): for GPT_eval_multi.py, and for
the training scripts on validation.

One repeat is a draw: a caption and a cut for each clip, in batches of 32. Motions are features [T, D], not normalised.
Nothing is computed twice that a draw shares with an earlier one: a clip has a handful of cuts and captions.

Axes: N items, E embedding, T frames, D features, J joints.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dataset.evaluation import BATCH, CLASSES, Item, batches, draw_items, read_glove, text_inputs
from dataset.humanml import Caption, Clip
from dataset.normalizer import CHECKPOINTS, published_statistics
from dataset.spec import DatasetSpec
from models.edits import Edit, edit, task_frames
from models.evaluator import WINDOW, Evaluator, WordVectors, load_evaluator
from models.pipeline import PRETRAINED, MotionPipeline
from models.upper_body import UpperEdit, edit_upper
from models.vqvae import VQVAE
from utils import metrics
from utils.motion import features_to_joints, plant_feet

MOTIONS_AT_ONCE = 64
TEXTS_AT_ONCE = 256
GLOVE = "glove"  # where download_glove.sh puts the vectors

Rows = dict[str, dict[str, float]]  # figures of each row of the table


# --- The judge --------------------------------------------------------------------------------------------------------


class Look(NamedTuple):
    """What is seen of N motions."""

    embedding: np.ndarray  # [N, E] by the judge
    body: np.ndarray  # [N, 4] of the joints: sum of the speeds of feet in contact, their number, jerk, floor


@dataclass
class Judge:
    """The evaluator with its words, and what it has seen of captions and of real motion."""

    model: Evaluator
    words: WordVectors
    spec: DatasetSpec
    texts: dict[Hashable, np.ndarray] = field(default_factory=dict)
    cuts: dict[Hashable, tuple] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """Motions that FID needs."""
        return self.model.config.embedding + 1

    def read(self, captions: Sequence[Caption]) -> np.ndarray:
        """Embeddings [N, E] of captions."""

        def embed(rows: list[int]) -> list[np.ndarray]:
            return list(self.read_anew([captions[i] for i in rows]))

        return np.stack(remembered(self.texts, captions, embed))

    @torch.no_grad()
    def read_anew(self, captions: Sequence[Caption]) -> np.ndarray:
        """`read`, without the memory."""
        chunks = [captions[first : first + TEXTS_AT_ONCE] for first in range(0, len(captions), TEXTS_AT_ONCE)]
        return np.concatenate([self.model.embed_text(*text_inputs(chunk, self.words)).cpu() for chunk in chunks])

    def look_at(self, items: Sequence[Item]) -> Look:
        """What is seen of the items' real motion."""

        def look(rows: list[int]) -> list[tuple]:
            return list(zip(*self.look([real_motion(items[i]) for i in rows])))

        found = remembered(self.cuts, [cut_of(item) for item in items], look)
        return Look(*map(np.stack, zip(*found)))

    def look(self, motions: Sequence[Tensor]) -> Look:
        """What is seen of motions [T, D]."""
        return Look(self.embed(motions), bodies(motions, self.spec))

    @torch.no_grad()
    def embed(self, motions: Sequence[Tensor]) -> np.ndarray:
        """Embeddings [N, E] of motions [T, D]: those of like length share a batch, zero past their ends."""
        found = np.zeros((len(motions), self.model.config.embedding), np.float32)
        mean, std = self.model.mean, self.model.std
        for rows in chunks_of_like_length(motions):
            lengths = torch.tensor([len(motions[i]) for i in rows], device=mean.device)
            motion = pad_sequence([(motions[i].to(mean.device) - mean) / std for i in rows], batch_first=True)
            found[rows] = self.model.embed_motion(motion, lengths).cpu()
        return found


def judge_path(spec: DatasetSpec) -> Path:
    """Where a dataset's judge lies when nobody says otherwise."""
    return CHECKPOINTS / spec.published_judge if spec.published_judge else PRETRAINED / "evaluator.pth"


def load_judge(
    spec: DatasetSpec, path: str | Path | None = None, glove: str | Path | None = None, device="cpu"
) -> Judge:
    """The judge of a dataset, from the file `path` or from where it usually is.

    `glove`: the folder of the word vectors of a judge that was trained on them (default: glove). Raises ValueError for
    files that are missing, broken, or of another dataset, and says how to get one.
    """
    path = Path(path or judge_path(spec))
    if not path.is_file():
        how = f"train_evaluator.py --dataname {spec.name} makes one, to be named with --evaluator"
        if spec.published_judge:
            how = f"bash dataset/prepare/download_extractor.sh brings the published one, {how}"
        raise ValueError(f"there is no judge {path}: {how}")
    model = load_evaluator(path, device)
    if model.dataset not in (None, spec.name) or model.config.dim != spec.dim:
        theirs = f"{model.dataset or 'motion'} of {model.config.dim} features"
        raise ValueError(f"{path} judges {theirs}, {spec.name} has {spec.dim}: name its own judge with --evaluator")
    if not model.has_statistics:
        model.set_statistics(*map(torch.from_numpy, published_statistics(spec)))
    words = model.words or read_glove(glove or GLOVE, device)
    if words.vectors.shape[1] != model.config.word or model.config.pos != len(CLASSES):
        widths = f"vectors of {model.config.word} numbers and {model.config.pos} classes"
        raise ValueError(f"{path} wants words as {widths}, not {words.vectors.shape[1]} and {len(CLASSES)}")
    return Judge(model, words, spec)


def remembered(memory: dict, keys: Sequence[Hashable], compute: Callable[[list[int]], list]) -> list:
    """memory[key] of each key; `compute` gives the values that are not there yet, one for each of these places."""
    new = {key: place for place, key in reversed(list(enumerate(keys))) if key not in memory}
    if new:
        memory.update(zip(new, compute(list(new.values()))))
    return [memory[key] for key in keys]


def cut_of(item: Item) -> tuple[str, int, int]:
    """What tells one stretch of real motion from another."""
    return item.clip.name, item.start, item.frames


def real_motion(item: Item) -> Tensor:
    """[T, D] of an item, in memory."""
    return torch.tensor(np.asarray(item.motion))


def chunks_of_like_length(motions: Sequence[Tensor], size: int = MOTIONS_AT_ONCE) -> list[list[int]]:
    """Places of the motions, the shortest first, some at a time: little of a padded batch is padding then."""
    order = sorted(range(len(motions)), key=lambda i: len(motions[i]))
    return [order[first : first + size] for first in range(0, len(order), size)]


# --- Joints -----------------------------------------------------------------------------------------------------------


def joints_of(motions: Sequence[Tensor], spec: DatasetSpec) -> list[np.ndarray]:
    """Joints [T, J, 3], in metres, of motions [T, D]."""
    found: list[np.ndarray] = [np.empty(0)] * len(motions)
    for rows in chunks_of_like_length(motions):
        joints = features_to_joints(pad_sequence([motions[i] for i in rows], batch_first=True), spec).numpy()
        for i, row in zip(rows, joints):
            found[i] = row[: len(motions[i])] * spec.metres_per_unit
    return found


def bodies(motions: Sequence[Tensor], spec: DatasetSpec) -> np.ndarray:
    """[N, 4] of motions [T, D]: `Look.body`."""
    rows = []
    for joints in joints_of(motions, spec):
        speeds = metrics.contact_speeds(joints, spec)
        floor = metrics.floor_penetration(joints, spec)
        rows.append((speeds.sum(), len(speeds), metrics.jerk(joints, spec.fps), floor))
    return np.array(rows)


def body_figures(body: np.ndarray) -> dict[str, float]:
    """Means over motions, and over all feet in contact, of `Look.body` [N, 4]."""
    speed, contacts, jerk, floor = body.sum(axis=0)
    sliding = speed / contacts if contacts else float("nan")
    return {"foot_sliding": sliding, "jerk": jerk / len(body), "floor_penetration": floor / len(body)}


# --- Figures ----------------------------------------------------------------------------------------------------------


def figures_of(text: np.ndarray, motion: Look, real: Look, seed: int = 0) -> dict[str, float]:
    """What is measured of N motions, their texts [N, E], and as many real ones; items lie in batches of 32.

    `fid` is left out where there are too few motions for it. seed: of the pairs that Diversity compares.
    """
    top = metrics.r_precision(text, motion.embedding, batch=BATCH).tolist()
    figures = {f"r_precision_{k}": share for k, share in enumerate(top, start=1)}
    with suppress(metrics.TooFew):  # `Judge.least` says how many it wants
        figures["fid"] = metrics.fid(real.embedding, motion.embedding)
    figures["matching_score"] = metrics.matching_score(text, motion.embedding)
    figures["diversity"] = metrics.diversity(motion.embedding, generator=np.random.default_rng(seed))
    return figures | body_figures(motion.body)


@dataclass(frozen=True)
class Draw:
    """What one repeat is about."""

    items: list[Item]  # in batches of 32, one after the other
    again: list[Item]  # the split drawn a second time: what real motion is compared with
    seed: int  # of what is sampled

    @property
    def texts(self) -> list[str]:
        return [item.caption.text for item in self.items]

    @property
    def lengths(self) -> list[int]:
        """In frames."""
        return [item.frames for item in self.items]


def draw_repeat(clips: list[Clip], seed: int, repeat: int = 0, longest: int = WINDOW) -> Draw:
    """The draw of a repeat, which depends on no other. Raises ValueError where the clips fill no batch."""
    generator = np.random.default_rng((seed, repeat))
    longest = min(longest, WINDOW)
    drawn = [
        [item for batch in batches(draw_items(clips, generator, longest=longest), BATCH, generator) for item in batch]
        for _ in range(2)
    ]
    return Draw(*drawn, seed=int(generator.integers(2**31)))


def real_figures(judge: Judge, draw: Draw) -> dict[str, float]:
    """The row of real motion; its FID is between two draws of captions and cuts."""
    items = draw.items
    caption = judge.read([item.caption for item in items])
    return figures_of(caption, judge.look_at(items), judge.look_at(draw.again), draw.seed)


# --- Text to motion ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampling:
    """How motions are made."""

    temperature: float = 1.0
    cfg_scale: float | None = None  # None: the model's usual one
    steps: int | None = None  # None: the model's usual number
    feet: bool = False  # whether sliding is taken off feet that stand
    lower_mask: float | None = None  # of the upper body: share of lower ids that are hidden; None: the usual one


@dataclass(frozen=True)
class Several:
    """MultiModality: so many motions of so many texts, compared in pairs."""

    texts: int = 32
    motions: int = 11
    pairs: int = 10


def generation_rows(
    judge: Judge, pipeline: MotionPipeline, draw: Draw, sampling: Sampling, several: Several | None = None,
    predicted_lengths: bool = False,
) -> Rows:  # fmt: skip
    """Figures of motions from the items' captions, and of the items themselves.

    Motions are as long as the items, or as their captions suggest. Raises ValueError where these suggest nothing,
    without a length model.
    """
    texts = draw.texts
    lengths = pipeline.predict_lengths(texts) if predicted_lengths else draw.lengths
    chosen: list[int] = []
    if several and several.texts:
        generator = np.random.default_rng(draw.seed)
        chosen = generator.choice(len(texts), min(several.texts, len(texts)), replace=False).tolist()
    again = [i for i in chosen for _ in range(several.motions - 1)] if chosen else []
    motions = generate(
        pipeline, texts + [texts[i] for i in again], lengths + [lengths[i] for i in again], draw.seed, sampling
    )
    look = judge.look(motions[: len(texts)])
    caption = judge.read([item.caption for item in draw.items])
    figures = figures_of(caption, look, judge.look_at(draw.items), draw.seed)
    if chosen:
        more = judge.embed(motions[len(texts) :]).reshape(len(chosen), several.motions - 1, -1)
        embeddings = np.concatenate((look.embedding[chosen][:, None], more), axis=1)  # [texts, motions, E]
        figures["multimodality"] = metrics.multimodality(embeddings, several.pairs, generator=generator)
    return {"real": real_figures(judge, draw), "generated": figures}


def generate(
    pipeline: MotionPipeline, texts: list[str], lengths: list[int], seed: int, sampling: Sampling
) -> list[Tensor]:
    """Motions [T, D] of sentences; lengths in frames."""
    motions, _ = pipeline.generate_features(
        texts, lengths, seed, sampling.temperature, sampling.cfg_scale, sampling.steps
    )
    return [plant_feet(motion, pipeline.spec) for motion in motions] if sampling.feet else motions


# --- The tokenizer alone ----------------------------------------------------------------------------------------------


@torch.no_grad()
def reconstruct(tokenizer: VQVAE, motions: Sequence[Tensor]) -> list[Tensor]:
    """Motions [T, D] to ids and back."""
    found = [torch.empty(0)] * len(motions)
    for rows in chunks_of_like_length(motions):
        lengths = torch.tensor([len(motions[i]) for i in rows], device=tokenizer.mean.device)
        padded = pad_sequence([motions[i] for i in rows], batch_first=True).to(tokenizer.mean)
        ids = tokenizer.encode(tokenizer.normalise(padded), lengths)
        decoded = tokenizer.denormalise(tokenizer.decode(ids, lengths)).cpu()
        for i, row in zip(rows, decoded):
            found[i] = row[: len(motions[i])].clone()
    return found


def reconstruction_rows(judge: Judge, tokenizer: VQVAE, draw: Draw, feet: bool, memory: dict) -> Rows:
    """Figures of the items as the tokenizer gives them back, their joints' errors in mm among them, and as they are.

    memory: what was found for the same tokenizer before.
    """

    def look(rows: list[int]) -> list[tuple]:
        real = [real_motion(draw.items[i]) for i in rows]
        restored = reconstruct(tokenizer, real)
        if feet:
            restored = [plant_feet(motion, judge.spec) for motion in restored]
        pairs = list(zip(joints_of(restored, judge.spec), joints_of(real, judge.spec)))
        errors = [(metrics.mpjpe(*pair, root_aligned=True), metrics.mpjpe(*pair)) for pair in pairs]
        return list(zip(*judge.look(restored), errors))

    found = remembered(memory, [cut_of(item) for item in draw.items], look)
    embedding, body, errors = map(np.stack, zip(*found))
    caption = judge.read([item.caption for item in draw.items])
    figures = figures_of(caption, Look(embedding, body), judge.look_at(draw.items), draw.seed)
    figures |= dict(zip(("mpjpe", "mpjpe_world"), errors.mean(axis=0).tolist()))
    return {"real": real_figures(judge, draw), "reconstructed": figures}


# --- Edits ------------------------------------------------------------------------------------------------------------


def edit_rows(judge: Judge, pipeline: MotionPipeline, task: str, draw: Draw, sampling: Sampling) -> Rows:
    """Figures of the items with a part of their frames made anew: of all frames, and of those that were made alone.

    Beside them the same of real motion: the made frames' row compares with the real frames in their place (where there
    are two stretches, one put behind the other). Jumps are those at the seams, where real motion has none.
    """
    unit = pipeline.tokenizer.config.frames_per_token
    ranges = [task_frames(task, item.frames, unit) for item in draw.items]
    real = [real_motion(item) for item in draw.items]
    edits = [Edit(motion.numpy(), made, text) for motion, made, text in zip(real, ranges, draw.texts)]
    edited = edit(
        pipeline, edits, draw.seed, sampling.temperature, sampling.cfg_scale, sampling.steps, sampling.feet
    )  # fmt: skip
    motions = [torch.from_numpy(one.features) for one in edited]
    caption = judge.read([item.caption for item in draw.items])
    whole = figures_of(caption, judge.look(motions), judge.look_at(draw.items), draw.seed)
    part, real_part = (judge.look(made_frames(x, ranges)) for x in (motions, real))
    rows = {"real": real_figures(judge, draw), "edited": whole}
    for name, source in (("real", real), ("edited", motions)):
        rows[name] |= seam_figures(joints_of(source, judge.spec), ranges, judge.spec.fps)
    rows["real, made part"] = figures_of(caption, real_part, real_part, draw.seed)
    rows["real, made part"].pop("fid", None)  # of a set and itself
    rows["edited, made part"] = figures_of(caption, part, real_part, draw.seed)
    return rows


def upper_rows(judge: Judge, pipeline: MotionPipeline, draw: Draw, sampling: Sampling) -> Rows:
    """Figures of the items with their upper bodies made anew, by their own captions; and how far, in mm, the joints of
    the lower body are from the item's, with the roots put together, which is the tokenizer's error."""
    motions = with_made_upper_bodies(pipeline, draw, sampling)
    real = [real_motion(item) for item in draw.items]
    caption = judge.read([item.caption for item in draw.items])
    figures = figures_of(caption, judge.look(motions), judge.look_at(draw.items), draw.seed)
    lower = list(judge.spec.lower_joints)
    pairs = zip(joints_of(motions, judge.spec), joints_of(real, judge.spec))
    errors = [metrics.mpjpe(made[:, lower], source[:, lower], root_aligned=True) for made, source in pairs]
    return {"real": real_figures(judge, draw), "edited": {**figures, "mpjpe": float(np.mean(errors))}}


def with_made_upper_bodies(pipeline: MotionPipeline, draw: Draw, sampling: Sampling) -> list[Tensor]:
    """The items' motions [T, D], their upper bodies made anew by their captions."""
    edits = [UpperEdit(real_motion(item).numpy(), item.caption.text) for item in draw.items]
    edited = edit_upper(
        pipeline, edits, draw.seed, sampling.temperature, sampling.cfg_scale, sampling.steps, sampling.lower_mask
    )
    return [torch.from_numpy(one.features) for one in edited]


def made_frames(motions: list[Tensor], ranges: list[list[tuple[int, int]]]) -> list[Tensor]:
    """The made stretches [T', D] of motions [T, D]."""
    return [torch.cat([motion[a:b] for a, b in made]) for motion, made in zip(motions, ranges)]


def seam_figures(joints: list[np.ndarray], ranges: list[list[tuple[int, int]]], fps: float) -> dict[str, float]:
    """Over all seams, between a made stretch and a kept one, and joints [T, J, 3]: how far a joint moves in the step
    that crosses the seam, mm; and how much its velocity changes, cm/s, the mean of the change into that step and the
    one out of it. Real motion moves too: what matters is the difference from it.
    """
    positions, velocities = [], []
    for x, made in zip(joints, ranges):
        steps = np.diff(x, axis=0)  # [T - 1, J, 3]: step s - 1 leads to frame s
        for seam in (place for stretch in made for place in stretch if 2 <= place < len(x) - 1):
            around = steps[seam - 2 : seam + 1]
            positions.append(1000 * np.linalg.norm(around[1], axis=-1).mean())
            velocities.append(100 * fps * np.linalg.norm(np.diff(around, axis=0), axis=-1).mean())
    return {"seam_step": float(np.mean(positions)), "seam_velocity_change": float(np.mean(velocities))}


# --- While a model learns ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Validation:
    """The judge on the validation split, under the same draw every time."""

    judge: Judge
    draw: Draw

    def figures(self, motions: Sequence[Tensor]) -> dict[str, float]:
        """Of motions [T, D], one for each item: they were made of its caption, or of itself.

        None of motions that are not finite: a model that goes astray is no reason to end its training here.
        """
        if not all(motion.isfinite().all() for motion in motions):
            return {}
        caption = self.judge.read([item.caption for item in self.draw.items])
        return figures_of(caption, self.judge.look(motions), self.judge.look_at(self.draw.items), self.draw.seed)


def made_motions(pipeline: MotionPipeline, draw: Draw) -> list[Tensor]:
    """A motion [T, D] for each item: of its caption, or of its lower body too where the models take it as given."""
    if pipeline.transformer.config.parts > 1:
        return with_made_upper_bodies(pipeline, draw, Sampling())
    return generate(pipeline, draw.texts, draw.lengths, draw.seed, Sampling())


def load_validation(
    spec: DatasetSpec, clips: list[Clip], path: str | None = None, glove: str | None = None, device="cpu",
    longest: int = WINDOW,
) -> tuple[Validation | None, str]:  # fmt: skip
    """What `Validation` needs, or None without it; and a line that says which, and what follows for net_best_fid.pth.

    longest: frames of an item. Raises ValueError only for a judge that was asked for, by `path`.
    """
    try:
        judge, draw = load_judge(spec, path, glove, device), draw_repeat(clips, seed=0, longest=longest)
    except ValueError as error:
        if path:
            raise
        return None, f"no judge looks at validation, and there will be no net_best_fid.pth: {error}"
    note = f"a judge looks at {len(draw.items)} validation motions"
    if len(draw.items) < judge.least:
        note += f": too few for FID, which takes {judge.least}, so there will be no net_best_fid.pth"
    return Validation(judge, draw), note
