"""Edits of motion that is there, guided by a sentence or by what is kept alone, and motions in a row.

    python edit.py inbetween --motion walk.npy --text "a person walks and turns around"
    python edit.py range --frames 40:80 --motion walk.bvh
    python edit.py upper --motion walk.npy --text "waves with both hands"
    python edit.py long --text "a person walks" --length 80 --text "a person bows"

inbetween   keeps the first and the last quarter and makes the middle     prefix   keeps the first half
outpaint    keeps the middle half and makes the beginning and the end     suffix   keeps the last half
range       makes the frames of --frames                                  long     makes one motion of all sentences
upper       keeps the lower body and makes the upper

A motion is an .npy file of features [T, D] or of joints [T, J, 3] in metres with y up, or a .bvh; in a folder, each is
edited by itself. Joints are brought to the dataset's skeleton and the floor to 0; the first kept frames stand where
they stood. A root is given by its velocities: what follows frames that are made stands where those arrive, or, with
--bend, they are bent so that it stands where it stood. It prints the paths it wrote: an HTML page that shows the
result and the source, and an .npy of the result's joints [T, J, 3] in metres, or what --formats says (see generate.py).
The same command writes the same files.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from options.flags import given_in_order, parse
from options.option_edit import EditOptions
from options.prompts import (
    check_numbers,
    file_stem,
    read_formats,
    read_lengths_in_order,
    read_texts,
    record,
    warn_of_unknown,
)  # fmt: skip
from options.sizes import check_sizes, stage1_sizes, stage2_sizes
from utils.errors import fail, stoppable

if TYPE_CHECKING:
    from dataset.motion_file import MotionFile
    from dataset.spec import DatasetSpec
    from models.pipeline import MotionPipeline


def check_flags(options: EditOptions) -> None:
    """ValueError for flags that the task does not have, or that it needs."""
    making = options.task == "long"
    if bool(options.motion) == making:
        raise ValueError("long makes a motion and takes no --motion" if making else "say which motion with --motion")
    if bool(options.frames) != (options.task == "range"):
        raise ValueError("--frames says what range makes, as in: edit.py range --frames 40:80")
    if options.length and not making:
        raise ValueError("--length is for long: an edit has the length of its motion")
    if options.lower_mask is not None and options.task != "upper":
        raise ValueError("--lower-mask is for upper: other edits hide the whole body")
    if options.lower_mask is not None and not options.lower_mask <= 1:
        raise ValueError(f"--lower-mask is a share from 0 to 1, not {options.lower_mask}")
    if options.task == "upper" and (options.bend or options.blend is not None or not options.keep_exact):
        raise ValueError("upper makes all frames: --bend, --blend and --no-keep-exact are for edits that keep some")
    if options.bend and not options.keep_exact:
        raise ValueError("--bend needs --keep-exact")
    if options.scale is not None and not 0 < options.scale < float("inf"):
        raise ValueError(f"--scale is metres per unit of the file, such as 0.01 for centimetres, not {options.scale}")


def read_frames(given: tuple[str, ...]) -> list[tuple[int, int]]:
    """The ranges of --frames. Raises ValueError for one of another form, or that is empty."""
    ranges = []
    for value in given:
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", value)
        if not found or int(found[1]) >= int(found[2]):
            raise ValueError(f"--frames takes FIRST:END with FIRST before END, as in 40:80, not {value!r}")
        ranges.append((int(found[1]), int(found[2])))
    return ranges


def read_motions(options: EditOptions, spec: "DatasetSpec", texts: list[str]) -> Iterator[tuple["MotionFile", str]]:
    """The motions of --motion, each with its sentence. Raises ValueError where these are not as many, or for a file."""
    from dataset.motion_file import motion_paths, read_motion

    paths = motion_paths(Path(options.motion))
    if len(texts) not in (1, len(paths)):
        raise ValueError(f"{len(texts)} sentences for {len(paths)} motions: give one for all, one for each, or none")
    joint_map = Path(options.joint_map) if options.joint_map else None
    for path, text in zip(paths, texts * len(paths) if len(texts) == 1 else texts):
        yield read_motion(path, spec, joint_map, options.scale, options.up), text


def edit_motions(options: EditOptions, pipeline: "MotionPipeline", texts: list[str], formats: list[str]) -> None:
    """Make and write the edits of one motion or a folder of them."""
    from models.motion_edits import make_edits, plan_edits
    from utils.export import write_motion

    given = read_motions(options, pipeline.spec, texts)
    plan = plan_edits(pipeline, given, options.task, read_frames(options.frames), options.num_samples)
    warn_of_unknown(pipeline, texts)
    out_dir = Path(options.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    if options.task == "upper":
        choices = {"lower_mask": options.lower_mask}
    else:
        choices = {name: getattr(options, name) for name in ("keep_exact", "bend", "blend")}
        choices["feet"] = options.plant_feet
    settings = record(options, pipeline, texts, [motion.frames for motion in plan.motions])
    made = make_edits(
        pipeline, plan, options.seed, options.temperature, options.cfg_scale, options.steps, settings, **choices
    )
    for i, result in enumerate(made):
        number, sample = divmod(i, options.num_samples)
        stem = out_dir / file_stem(number, f"{options.task} {plan.motions[number].path.stem}", sample)
        for written in write_motion(stem, formats, result):
            print(written)


def make_long(options: EditOptions, pipeline: "MotionPipeline", texts: list[str], formats: list[str]) -> None:
    """Make and write one motion of all sentences."""
    from models.edits import generate_long
    from utils.export import Export, write_motion

    given = given_in_order(("text", "length"))
    lengths = read_lengths_in_order(given, len(texts), pipeline.shortest, pipeline.longest)
    pipeline.check_transitions(options.num_transition_token)
    lengths = pipeline.fill_lengths(texts, lengths)
    warn_of_unknown(pipeline, texts)
    out_dir = Path(options.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    motions = generate_long(
        pipeline, texts, lengths, options.seed, options.temperature, options.cfg_scale, options.steps,
        options.plant_feet, options.num_transition_token, options.transition_text, options.num_samples,
    )  # fmt: skip
    settings = record(options, pipeline, texts, lengths)
    for sample, motion in enumerate(motions):
        made = Export(
            motion.joints, pipeline.spec, motion.text, motion.fps, {"transition": motion.generated}, text=motion.text,
            features=motion.features, ids=motion.ids, seed=options.seed, settings=settings | {"sample": sample},
        )  # fmt: skip
        for written in write_motion(out_dir / file_stem(0, f"long {motion.text}", sample), formats, made):
            print(written)


@stoppable
def main() -> None:
    options = parse(EditOptions, __doc__)
    try:
        check_flags(options)
        read_frames(options.frames)
        wordless = options.task != "long" and not options.text and not options.text_file
        texts, formats = [""] if wordless else read_texts(options), read_formats(options.formats)
        check_numbers(options)

        # torch takes seconds to import: mistakes in the flags are told before
        from models.pipeline import MotionPipeline
        from models.upper_body import load_upper_body

        if options.task == "upper":
            pipeline = load_upper_body(
                options.resume_pth, options.resume_trans, options.device, options.precision, options.dataname,
                options.clip_model, options.order_noise,
            )  # fmt: skip
        else:
            pipeline = MotionPipeline.load(
                options.resume_pth, options.resume_trans, options.device, options.resume_length, options.precision,
                options.dataname, options.clip_model, order_noise=options.order_noise,
            )  # fmt: skip
        check_sizes(options, stage1_sizes(pipeline.tokenizer.config) | stage2_sizes(pipeline.transformer.config))
        run = make_long if options.task == "long" else edit_motions
        run(options, pipeline, texts, formats)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write to --out-dir {options.out_dir}: {error}")


if __name__ == "__main__":
    main()
