"""Repeated evaluation: mean and 95 % interval of the published figures, real motion beside (spec/evaluation.md).

    python GPT_eval_multi.py                                           # the weights that ship with the code
    python GPT_eval_multi.py --exp-name eval_name --resume-pth output/vq/X/net_last.pth \\
        --resume-trans output/t2m/Y/net_last.pth --num-local-layer 2
    python GPT_eval_multi.py --stage vq --resume-pth output/vq/X/net_last.pth
    python GPT_eval_multi.py --task inbetween

Every repeat draws captions and cuts of the split anew, and samples anew; the same seed gives the same figures. Writes
OUT_DIR/eval/EXP_NAME: metrics.json with every repeat, config.json, run.log with the table, and TensorBoard events.

Figures of different judges cannot be compared. With --feet, as users of generate.py get them, motions have the sliding
taken off feet that stand; the published figures of t2m and kit are of motions as decoded, and so are these by default.
"""

import json
import time

import torch

from dataset.humanml import dataset_folder, read_split
from dataset.normalizer import published_statistics
from dataset.spec import T2M, DatasetSpec, get_spec
from models.evaluator import WINDOW
from models.judge import (
    Draw,
    Rows,
    Sampling,
    Several,
    draw_repeat,
    edit_rows,
    generation_rows,
    load_judge,
    reconstruction_rows,
    upper_rows,
)
from models.pipeline import PRETRAINED, MotionPipeline, check_body
from models.upper_body import load_upper_body
from models.vqvae import VQVAE, check_width, load_vqvae
from options.flags import parse
from options.option_eval import EvalOptions
from options.sizes import check_sizes, stage1_sizes, stage2_sizes
from utils.checkpoint import load_checkpoint
from utils.errors import fail, stoppable
from utils.files import write_text
from utils.metrics import mean_interval
from utils.runtime import Run, pick_device

COLUMNS = {  # of the table, in this order; which there are depends on what is evaluated
    "r_precision_1": "R1",
    "r_precision_2": "R2",
    "r_precision_3": "R3",
    "fid": "FID",
    "matching_score": "MM-Dist",
    "diversity": "Diversity",
    "multimodality": "MModality",
    "mpjpe": "MPJPE mm",  # with the roots put together
    "mpjpe_world": "world mm",  # without
    "seam_step": "seam mm",
    "seam_velocity_change": "seam cm/s",
    "foot_sliding": "slide cm/s",
    "jerk": "jerk m/s3",
    "floor_penetration": "floor mm",
}


def load_tokenizer(options: EvalOptions, device: torch.device) -> tuple[VQVAE, DatasetSpec]:
    """The tokenizer of --stage vq, and its dataset. Raises ValueError for files that cannot be used."""
    path = options.resume_pth or PRETRAINED / "vq.pth"
    tokenizer = load_vqvae(path, device)
    known = load_checkpoint(path).get("dataset")
    if known and options.dataname and known != options.dataname:
        raise ValueError(f"{path} was trained on {known}, not on {options.dataname}: leave --dataname out")
    spec = get_spec(known or options.dataname or T2M.name)
    check_width(tokenizer, spec, path)
    if not tokenizer.has_statistics:
        tokenizer.set_statistics(*published_statistics(spec))
    check_sizes(options, stage1_sizes(tokenizer.config))
    return tokenizer, spec


def load_pipeline(options: EvalOptions) -> MotionPipeline:
    """The models of text to motion. Raises ValueError for files that cannot be used, or lack what is asked for."""
    if options.task == "upper":
        pipeline = load_upper_body(
            options.resume_pth, options.resume_trans, options.device, options.precision, options.dataname,
            options.clip_model, options.order_noise,
        )  # fmt: skip
        check_sizes(options, stage1_sizes(pipeline.tokenizer.config) | stage2_sizes(pipeline.transformer.config))
        return pipeline
    pipeline = MotionPipeline.load(
        options.resume_pth, options.resume_trans, options.device, options.resume_length, options.precision,
        options.dataname, options.clip_model, order_noise=options.order_noise,
    )  # fmt: skip
    check_sizes(options, stage1_sizes(pipeline.tokenizer.config) | stage2_sizes(pipeline.transformer.config))
    if options.length_source == "predicted" and pipeline.length_model is None:
        raise ValueError("--length-source predicted needs a length model: name one with --resume-length")
    return pipeline


def check_flags(options: EvalOptions) -> None:
    """ValueError for flags that do not go together."""
    if options.task and (options.stage == "vq" or options.length_source == "predicted"):
        raise ValueError("--task edits motions that are there, of their own lengths, with both stages")
    if options.stage == "vq" and options.resume_trans:
        raise ValueError("--stage vq evaluates the tokenizer alone: leave --resume-trans out")
    pairs = options.mm_motions * (options.mm_motions - 1) // 2
    if options.mm_texts and options.mm_pairs > pairs:
        raise ValueError(f"{options.mm_motions} motions make {pairs} pairs: --mm-pairs must not be more")


def summary(repeats: list[Rows]) -> dict[str, dict[str, dict]]:
    """Mean, half of the 95 % interval (None for one repeat) and values of each figure of each row."""
    found: dict[str, dict[str, dict]] = {}
    for row in repeats[0]:
        for name in repeats[0][row]:
            values = [figures[row][name] for figures in repeats]
            mean, half = mean_interval(values)
            half = half if len(values) > 1 else None
            found.setdefault(row, {})[name] = {"mean": mean, "interval": half, "repeats": values}
    return found


def table(found: dict[str, dict[str, dict]]) -> list[str]:
    """Lines of the table: a row of means, under it a row of the intervals."""
    names = [name for name in COLUMNS if any(name in figures for figures in found.values())]
    width = max(map(len, found))
    lines = [" " * width + "".join(f"{COLUMNS[name]:>11}" for name in names)]
    for row, figures in found.items():
        means = [f"{figures[name]['mean']:.3f}" if name in figures else "-" for name in names]
        lines.append(f"{row:{width}}" + "".join(f"{mean:>11}" for mean in means))
        halves = [figures[name]["interval"] if name in figures else None for name in names]
        if any(half is not None for half in halves):
            shown = ["" if half is None else f"±{half:.3f}" for half in halves]
            lines.append(" " * width + "".join(f"{half:>11}" for half in shown))
    return lines


@stoppable
def main() -> None:
    options = parse(EvalOptions, __doc__)
    try:
        check_flags(options)
        device = pick_device(options.device)
        longest = WINDOW
        if options.stage == "vq":
            pipeline = None
            tokenizer, spec = load_tokenizer(options, device)
            check_body(len(tokenizer.config.parts), options.resume_pth or PRETRAINED / "vq.pth")
        else:
            pipeline = load_pipeline(options)
            spec, longest = pipeline.spec, pipeline.longest
        clips = read_split(spec, dataset_folder(spec, options.data_root), options.split)
        judge = load_judge(spec, options.evaluator, options.glove, device)
        motions = len(draw_repeat(clips, options.seed, 0, longest).items)
        run = Run(f"{options.out_dir}/eval/{options.exp_name}", options)
    except ValueError as error:
        fail(str(error))
    feet = options.feet
    if feet is None:
        feet = pipeline is not None and spec.published_judge is None
    sampling = Sampling(options.temperature, options.cfg_scale, options.steps, feet, options.lower_mask)
    several = Several(options.mm_texts, options.mm_motions, options.mm_pairs)
    memory: dict = {}  # of reconstructions: they are the same in every repeat that makes the same cut

    def rows_of(draw: Draw) -> Rows:
        if pipeline is None:
            return reconstruction_rows(judge, tokenizer, draw, feet, memory)
        if options.task == "upper":
            return upper_rows(judge, pipeline, draw, sampling)
        if options.task:
            return edit_rows(judge, pipeline, options.task, draw, sampling)
        return generation_rows(judge, pipeline, draw, sampling, several, options.length_source == "predicted")

    what = (
        options.task or {"trans": f"text to motion, {options.length_source} lengths", "vq": "tokenizer"}[options.stage]
    )
    run.say(f"{what}: {motions} motions of {spec.name} {options.split}, {options.repeat} repeats, feet planted: {feet}")
    if motions < judge.least:
        run.say(f"no FID: it takes {judge.least} motions for this judge")
    repeats, begun = [], time.time()
    for repeat in range(options.repeat):
        since = time.time()
        try:
            repeats.append(rows_of(draw_repeat(clips, options.seed, repeat, longest)))
        except ValueError as error:  # a caption too long for the text encoder, say
            run.close()
            fail(str(error))
        for row, figures in repeats[-1].items():
            for name, value in figures.items():
                run.events.add_scalar(f"{row}/{name}", value, repeat)
        last = list(repeats[-1].values())[-1]
        shown = ", ".join(f"{COLUMNS[name]} {last[name]:.3f}" for name in list(COLUMNS)[:6] if name in last)
        run.say(f"repeat {repeat + 1}: {shown} ({time.time() - since:.1f} s)")
    found = summary(repeats)
    for line in table(found):
        run.say(line)
    record = {"what": what, "dataset": spec.name, "motions": motions, "seconds": time.time() - begun, "rows": found}
    run.say(str(write_text(run.folder / "metrics.json", json.dumps(record, indent=2) + "\n")))
    run.close()


if __name__ == "__main__":
    main()
