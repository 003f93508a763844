"""How good the figures of real motion are when a caption is all one knows: what FID a perfect model could have.

    python -m benchmarks.retrieval
    python -m benchmarks.retrieval --split val --near 30

Every item of a split gets a real clip of the training set, one of those whose captions are most like the item's in the
judge's eyes, drawn at random. A caption leaves things open (a style it does not name, say) and the clip drawn is often
not the item's kind, as it would be of a perfect model's motions. With `--lengths 20` it is one of the twenty of them
nearest in length, which is all else that a model is told.
"""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.report import Table
from dataset.humanml import Clip, dataset_folder, read_split
from dataset.spec import get_spec
from models.evaluator import FRAMES_PER_STEP, WINDOW
from models.judge import Judge, draw_repeat, load_judge
from options.flags import flag, parse
from utils import metrics
from utils.errors import fail


@dataclass(frozen=True)
class RetrievalOptions:
    dataname: str = flag("bandai", "t2m, kit or bandai")
    data_root: str | None = flag(None, "folder of the dataset, where it is not in its usual place")
    evaluator: str | None = flag(None, "the judge (default: the dataset's usual one)")
    glove: str | None = flag(None, "folder of the judge's word vectors, where it was trained on them")
    split: str = flag("test", "which clips")
    captions: int = flag(12, "of each training clip, at most", least=1)
    near: int = flag(100, "captions to choose from, those most like the item's", least=1)
    lengths: int = flag(0, "of these, so many of the nearest length; 0 takes any length", least=0)
    repeat: int = flag(20, "repeats", least=1)
    seed: int = flag(123, "of every random draw")


class Shelf:
    """Clips to choose from, as the judge sees them: captions [N, E] and, of the clip of each, its motion and length."""

    def __init__(self, judge: Judge, clips: list[Clip], captions: int, generator: np.random.Generator):
        chosen = [(i, c) for i, clip in enumerate(clips) for c in generator.permutation(len(clip.captions))[:captions]]
        self.texts = judge.read_anew([clips[i].captions[c] for i, c in chosen])
        motions = [clip.motion[: min(len(clip.motion), WINDOW) // FRAMES_PER_STEP * FRAMES_PER_STEP] for clip in clips]
        self.motions = judge.embed([torch.tensor(motion) for motion in motions])
        self.frames = np.array([len(motion) for motion in motions])
        self.clip_of = np.array([i for i, _ in chosen])

    def choose(
        self, texts: np.ndarray, frames: np.ndarray, near: int, lengths: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Motions [n, E], one for each of captions [n, E] and lengths [n]."""
        distances = (self.texts**2).sum(axis=1) - 2 * texts @ self.texts.T  # and a constant of each row
        clips = self.clip_of[np.argsort(distances, axis=1)[:, :near]]  # [n, near]
        if lengths:
            gap = np.abs(self.frames[clips] - frames[:, None])
            order = np.lexsort((generator.random(gap.shape), gap))  # those equally near in any order
            clips = np.take_along_axis(clips, order[:, :lengths], axis=1)
        return self.motions[clips[np.arange(len(clips)), generator.integers(clips.shape[1], size=len(clips))]]


def measured(options: RetrievalOptions) -> Table:
    """Real motion's figures, and those of the clips that were chosen. Raises ValueError for data that are missing."""
    spec = get_spec(options.dataname)
    folder = dataset_folder(spec, options.data_root)
    judge = load_judge(spec, options.evaluator, options.glove)
    clips = read_split(spec, folder, options.split)
    generator = np.random.default_rng(options.seed)
    shelf = Shelf(judge, read_split(spec, folder, "train"), options.captions, generator)
    found = {"real": [], "chosen by caption": []}
    for repeat in range(options.repeat):
        draw = draw_repeat(clips, options.seed, repeat)
        texts, real = judge.read([item.caption for item in draw.items]), judge.look_at(draw.items).embedding
        frames = np.array([item.frames for item in draw.items])
        chosen = shelf.choose(texts, frames, options.near, options.lengths, generator)
        for name, motions in zip(found, (real, chosen)):
            top3 = float(metrics.r_precision(texts, motions)[2])
            found[name].append((top3, metrics.fid(real, motions) if motions is chosen else 0.0))
    rows = []
    for name, figures in found.items():
        shown = [metrics.mean_interval(values) for values in zip(*figures)]
        rows.append((name, *(f"{mean:.3f} ± {half:.3f}" for mean, half in shown)))
    note = f"{len(draw.items)} items, {options.repeat} repeats; {options.near} captions to choose from"
    return Table(f"Real motion by caption, {spec.name} {options.split}", ("", "R-precision 3", "FID"), rows, [note])


def main() -> None:
    options = parse(RetrievalOptions, __doc__)
    try:
        print(measured(options).markdown())
    except ValueError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
