"""How long one repeat of the evaluation takes: as GPT_eval_multi.py does it, against a plain loop over the same items.

    python -m benchmarks.evaluation_speed
    python -m benchmarks.evaluation_speed --resume-pth VQ --resume-trans TRANS --items 64

The plain loop takes one item at a time: it encodes the sentence once for its vector and once for its words, samples one
row as long as the transformer's rows are (`--rows own`: as long as the motion), decodes it, and embeds its text, its
real motion and the generated one, nothing of it shared or kept. Both give the same figures for the same seed, which is
checked. The first repeat is timed, which remembers nothing from earlier ones; and the second, which does.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from dataset.evaluation import Item
from dataset.humanml import dataset_folder, read_split
from models.evaluation import (
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
from models.ids import make_rows, mask_id, token_count
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
    precision: str = flag("32", "auto, 32 or bf16; in bf16 the figures differ a little", ("auto", "32", "bf16"))


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

        ids = sample(logits_fn, rows, tokens, codes, generators=[generator])[:, : int(tokens)]
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
        pipeline = MotionPipeline.load(
            options.resume_pth, options.resume_trans, options.device, None, options.precision
        )  # fmt: skip
        clips = read_split(pipeline.spec, dataset_folder(pipeline.spec, options.data_root), options.split)
        draws = [cut(draw_repeat(clips, options.seed, repeat, pipeline.longest), options.items) for repeat in range(2)]
        judges = [load_judge(pipeline.spec, options.evaluator, None, pipeline.device) for _ in range(2)]
    except ValueError as error:
        fail(str(error))
    row_length = pipeline.transformer.config.row_length if options.rows == "full" else None
    sampling = Sampling(feet=options.feet)
    few = cut(draw_repeat(clips, options.seed + 1, 0, pipeline.longest), 32)
    generation_rows(load_judge(pipeline.spec, options.evaluator, None, pipeline.device), pipeline, few, sampling)

    seconds, busy, found = {}, {}, {}
    for name, way in (
        ("as GPT_eval_multi", lambda: generation_rows(judges[0], pipeline, draws[0], sampling)),
        ("its next repeat", lambda: generation_rows(judges[0], pipeline, draws[1], sampling)),
        ("one at a time", lambda: plain_rows(judges[1], pipeline, draws[0], options.feet, row_length)),
    ):
        begun, used = time.perf_counter(), time.process_time()
        found[name] = way()
        seconds[name], busy[name] = time.perf_counter() - begun, time.process_time() - used

    device = pipeline.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{len(draws[0].items)} motions of {pipeline.spec.name} {options.split}, {where}, {pipeline.precision}\n")
    print(f"{'':20}{'seconds':>10}{'ratio':>8}{'CPU seconds':>15}{'ratio':>8}")
    plain = "one at a time"
    for name in seconds:
        wall = f"{seconds[name]:10.2f}{seconds[plain] / seconds[name]:8.2f}"
        print(f"{name:20}{wall}{busy[name]:15.2f}{busy[plain] / busy[name]:8.2f}")
    ours, theirs = found["as GPT_eval_multi"], found[plain]
    print(f"\n{'':34}{'batched':>12}{'one at a time':>16}")
    for row in ours:
        for figure, value in ours[row].items():
            print(f"{row + ' ' + figure:34}{value:12.5f}{theirs[row][figure]:16.5f}")
    difference = max(abs(ours[row][name] - theirs[row][name]) for row in ours for name in ours[row])
    print(f"\nlargest difference: {difference:.2g}")


if __name__ == "__main__":
    main()
