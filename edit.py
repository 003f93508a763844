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
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from options.flags import given_in_order, parse
from options.option_edit import EditOptions
from options.prompts import check_numbers, file_stem, read_formats, read_lengths_in_order, read_texts, record
from options.sizes import check_sizes, stage1_sizes, stage2_sizes
from utils.errors import fail

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
    if options.lower_mask and options.task != "upper":
        raise ValueError("--lower-mask is for upper: other edits hide the whole body")
    if not options.lower_mask <= 1:
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
    from models.edits import Edit, check_edit, edit, range_mask, task_frames
    from utils.export import Export, write_motion
    from utils.motion import features_to_joints
    from utils.seams import ranges_of, stand_on

    spec, unit = pipeline.spec, pipeline.tokenizer.config.frames_per_token
    ranges_asked, edits, motions, sources = read_frames(options.frames), [], [], []
    for motion, text in read_motions(options, spec, texts):
        path = motion.path
        try:
            ranges = ranges_asked or task_frames(options.task, motion.frames, unit)
            made = range_mask(ranges, motion.frames)
            features = motion.features_without(made.numpy())
            check_edit(Edit(features, ranges), pipeline)
            shown = motion.features_without(np.zeros(motion.frames, dtype=bool))
        except ValueError as error:
            raise ValueError(f"{path}: {error}".replace(f"{path}: {path}", str(path))) from error
        edits += [Edit(features, ranges, text, sample) for sample in range(options.num_samples)]
        motions.append(motion)
        sources.append(features_to_joints(shown, spec) * spec.metres_per_unit)
    warn_of_unknown(pipeline, texts)
    out_dir = Path(options.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    results = edit(
        pipeline, edits, options.seed, options.temperature, options.cfg_scale, options.steps or 10, options.plant_feet,
        options.keep_exact, options.bend, options.blend,
    )  # fmt: skip
    settings = record(options, pipeline, texts, [motion.frames for motion in motions])
    for i, result in enumerate(results):
        number, sample = divmod(i, options.num_samples)
        motion, source, joints = motions[number], sources[number], result.joints
        made = range_mask(result.generated, motion.frames).numpy()
        if not made.all():
            kept = slice(*ranges_of(~made)[0])
            if motion.joints is not None:  # joints have a place in the world: the first kept stretch stands there again
                joints = stand_on(joints, joints[kept], motion.joints[kept] * spec.metres_per_unit)
            source = stand_on(source, source[kept], joints[kept])
        title = f"{result.text or 'no sentence'} ({options.task} of {motion.path.stem})"
        stem = out_dir / file_stem(number, f"{options.task} {motion.path.stem}", sample)
        made = Export(
            joints, spec, title, result.fps, {"generated": result.generated}, source, result.text, result.features,
            result.ids, np.asarray(edits[i].features), options.seed, settings | {"number": number, "sample": sample},
        )  # fmt: skip
        for written in write_motion(stem, formats, made):
            print(written)


def edit_upper_bodies(options: EditOptions, pipeline: "MotionPipeline", texts: list[str], formats: list[str]) -> None:
    """Make and write the upper body of one motion or a folder of them."""
    from models.upper_body import STEPS, UpperEdit, check_upper_edit, edit_upper
    from utils.export import Export, write_motion
    from utils.motion import features_to_joints
    from utils.seams import stand_on

    spec = pipeline.spec
    edits, motions = [], []
    for motion, text in read_motions(options, spec, texts):
        try:
            features = motion.features_without(np.zeros(motion.frames, dtype=bool))
            check_upper_edit(UpperEdit(features), pipeline)
        except ValueError as error:
            raise ValueError(
                f"{motion.path}: {error}".replace(f"{motion.path}: {motion.path}", str(motion.path))
            ) from error
        edits += [UpperEdit(features, text, sample) for sample in range(options.num_samples)]
        motions.append(motion)
    warn_of_unknown(pipeline, texts)
    out_dir = Path(options.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    results = edit_upper(
        pipeline, edits, options.seed, options.temperature, options.cfg_scale, options.steps or STEPS,
        options.lower_mask,
    )  # fmt: skip
    settings = record(options, pipeline, texts, [motion.frames for motion in motions])
    for i, result in enumerate(results):
        number, sample = divmod(i, options.num_samples)
        motion, joints, legs = motions[number], result.joints, list(spec.lower_joints)
        source = features_to_joints(edits[i].features, spec) * spec.metres_per_unit
        if motion.joints is not None:  # joints have a place in the world: the legs stand there again
            joints = stand_on(joints, joints[:, legs], motion.joints[:, legs] * spec.metres_per_unit)
            source = stand_on(source, source[:, legs], joints[:, legs])
        title = f"{result.text or 'no sentence'} (upper body of {motion.path.stem})"
        stem = out_dir / file_stem(number, f"upper {motion.path.stem}", sample)
        made = Export(
            joints, spec, title, result.fps, {}, source, result.text, result.features, result.ids,
            np.asarray(edits[i].features), options.seed, settings | {"number": number, "sample": sample},
        )  # fmt: skip
        for written in write_motion(stem, formats, made):
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
        pipeline, texts, lengths, options.seed, options.temperature, options.cfg_scale, options.steps or 10,
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


def warn_of_unknown(pipeline: "MotionPipeline", texts: list[str]) -> None:
    """Say on stderr which sentences the model knows no word of."""
    for text in filter(None, texts):
        if not pipeline.text_encoder.understands(text):
            print(f"warning: no word of {text!r} is known to this model: the motion will be any", file=sys.stderr)


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
                options.clip_model,
            )  # fmt: skip
        else:
            pipeline = MotionPipeline.load(
                options.resume_pth, options.resume_trans, options.device, options.resume_length, options.precision,
                options.dataname, options.clip_model,
            )  # fmt: skip
        check_sizes(options, stage1_sizes(pipeline.tokenizer.config) | stage2_sizes(pipeline.transformer.config))
        run = {"long": make_long, "upper": edit_upper_bodies}.get(options.task, edit_motions)
        run(options, pipeline, texts, formats)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write to --out-dir {options.out_dir}: {error}")


if __name__ == "__main__":
    main()
