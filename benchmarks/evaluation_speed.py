"""How long one repeat of the evaluation takes: as GPT_eval_multi.py does it, against a plain loop over the same items.

    python -m benchmarks.evaluation_speed
    python -m benchmarks.evaluation_speed --resume-pth VQ --resume-trans TRANS --items 64

The plain loop takes one item at a time, in float32: it encodes the sentence once for its vector and once for its words,
samples one row as long as the transformer's rows are (`--rows own`: as long as the motion), decodes it, and embeds its
text, its real motion and the generated one, nothing of it shared or kept. In float32 both ways give the same figures
for the same seed, which are printed side by side. Where the machine multiplies bfloat16 faster, GPT_eval_multi.py takes
that unless told otherwise, and its figures differ by less than those of another seed. Two repeats of it are timed: the
first remembers nothing of earlier ones.

Where the arithmetic itself is what takes time, as on a CPU, batching saves what it does not have to compute (padding,
what a draw shares with another) and no more; where starting it takes time, as on a GPU, nearly all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dataset.evaluation import Item
from dataset.humanml import dataset_folder, read_split
from models.ids import make_rows, mask_id, token_count
from models.judge import (
    Draw,
    Judge,
    Look,
    Rows,
    Sampling,
    bodies,
    draw_repeat,
    figures_of,
    generation_rows,
    load_judge,
    real_motion,
)
from models.pipeline import MotionPipeline, row_generators
from models.sampling import sample
from options.flags import flag, parse
from utils.errors import fail
from utils.motion import plant_feet
from utils.runtime import autocast


@dataclass(frozen=True)
class EvaluationSpeedOptions:
    resume_pth: str | None = flag(None, "stage-1 checkpoint (default: the weights that ship with the code)")
    resume_trans: str | None = flag(None, "stage-2 checkpoint (default: the weights that ship with the code)")
    evaluator: str | None = flag(None, "the judge (default: the dataset's usual one)")
    data_root: str | None = flag(None, "folder of the dataset, where it is not in its usual place")
    split: str = flag("test", "which clips")
    items: int = flag(0, "items of a repeat, a multiple of 32; 0 takes all", least=0)
    rows: str = flag(
        "full", "the plain loop's rows: full, the transformer's row length; own, the motion's", ("full", "own")
    )
    feet: bool = flag(True, "take the sliding off feet that stand, both ways")
    seed: int = flag(123, "of every random draw")
    threads: int | None = flag(None, "of the CPU (default: torch's own choice)", least=1)
    device: str = flag("auto", "auto, cpu or cuda")


@torch.no_grad()
def plain_motion(
    pipeline: MotionPipeline, text: str, frames: int, generator: torch.Generator, row_length: int | None
) -> torch.Tensor:
    """Features [T, D] of one sentence, by itself."""
    unit, codes, device = pipeline.tokenizer.config.frames_per_token, pipeline.transformer.config.codes, pipeline.device
    tokens = torch.tensor([token_count(frames, unit)], device=device)
    masked = torch.full((1, int(tokens)), mask_id(codes), device=device)
    rows = make_rows(masked, tokens, codes, row_length or int(tokens) + 1)
    with autocast(device, pipeline.precision):
        sentence = pipeline.text_encoder([text]).sentence
        words = pipeline.text_encoder([text]).words
        free = pipeline.text_encoder([""])

        def logits_fn(ids: torch.Tensor) -> torch.Tensor:
            logits = pipeline.transformer(ids, sentence, words)
            if pipeline.guidance == 1.0:
                return logits
            other = pipeline.transformer(ids, free.sentence, free.words).float()
            return other + pipeline.guidance * (logits.float() - other)

        ids = sample(
            logits_fn, rows, tokens, codes, pipeline.rounds, generators=[generator], order_noise=pipeline.order_noise
        )[:, : int(tokens)]
    return pipeline.tokenizer.denormalise(pipeline.tokenizer.decode(ids))[0, :frames].cpu()


def plain_rows(judge: Judge, pipeline: MotionPipeline, draw: Draw, feet: bool, row_length: int | None) -> Rows:
    """What `generation_rows` gives, one item at a time."""

    def look_alone(motion: torch.Tensor) -> Look:
        return Look(judge.embed([motion]), bodies([motion], judge.spec))

    def looks_at(items: list[Item]) -> Look:
        return Look(*map(np.concatenate, zip(*(look_alone(real_motion(item)) for item in items))))

    texts, made = [], []
    for item, generator in zip(draw.items, row_generators(draw.texts, draw.seed)):
        texts.append(judge.read_anew([item.caption]))
        motion = plain_motion(pipeline, item.caption.text, item.frames, generator, row_length)
        made.append(look_alone(plant_feet(motion, judge.spec) if feet else motion))
    text, generated = np.concatenate(texts), Look(*map(np.concatenate, zip(*made)))
    real, again = looks_at(draw.items), looks_at(draw.again)
    return {
        "real": figures_of(text, real, again, draw.seed),
        "generated": figures_of(text, generated, real, draw.seed),
    }


def cut(draw: Draw, items: int) -> Draw:
    """The first so many items of a draw; all for 0."""
    return Draw(draw.items[: items or None], draw.again[: items or None], draw.seed)


def main() -> None:
    options = parse(EvaluationSpeedOptions, __doc__)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        exact = MotionPipeline.load(options.resume_pth, options.resume_trans, options.device)
        pipeline = MotionPipeline.load(options.resume_pth, options.resume_trans, options.device, precision="auto")
        clips = read_split(exact.spec, dataset_folder(exact.spec, options.data_root), options.split)
        draws = [cut(draw_repeat(clips, options.seed, repeat, exact.longest), options.items) for repeat in range(2)]
        judges = [load_judge(exact.spec, options.evaluator, None, exact.device) for _ in range(3)]
    except ValueError as error:
        fail(str(error))
    row_length = exact.transformer.config.row_length if options.rows == "full" else None
    sampling = Sampling(feet=options.feet)
    usual = f"batched, {pipeline.precision}"
    ways: dict[str, Callable[[], Rows]] = {
        usual: lambda: generation_rows(judges[0], pipeline, draws[0], sampling),
        f"{usual}, repeat 2": lambda: generation_rows(judges[0], pipeline, draws[1], sampling),
        "batched, float32": lambda: generation_rows(judges[1], exact, draws[0], sampling),
        "one at a time": lambda: plain_rows(judges[2], exact, draws[0], options.feet, row_length),
    }
    few = cut(draws[1], 32)
    for some in (pipeline, exact):  # what is done once only
        generation_rows(load_judge(exact.spec, options.evaluator, None, exact.device), some, few, sampling)
    seconds, busy, found = {}, {}, {}
    for name, way in ways.items():
        begun, used = time.perf_counter(), time.process_time()
        found[name] = way()  # on the CPU when it returns: nothing is left to wait for
        seconds[name], busy[name] = time.perf_counter() - begun, time.process_time() - used

    device = exact.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{len(draws[0].items)} motions of {exact.spec.name} {options.split}, {where}, rows: {options.rows}\n")
    print(f"{'':24}{'seconds':>10}{'ratio':>8}{'CPU seconds':>15}{'ratio':>8}")
    plain = "one at a time"
    for name in ways:
        wall = f"{seconds[name]:10.2f}{seconds[plain] / seconds[name]:8.2f}"
        print(f"{name:24}{wall}{busy[name]:15.2f}{busy[plain] / busy[name]:8.2f}")
    shown = (usual, "batched, float32", plain)
    print(f"\n{'':34}" + "".join(f"{name:>20}" for name in shown))
    for row, figures in found[plain].items():
        for figure in figures:
            print(f"{row + ' ' + figure:34}" + "".join(f"{found[name][row][figure]:20.5f}" for name in shown))


if __name__ == "__main__":
    main()
