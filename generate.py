"""Motion from text: an HTML page that plays it, its joints, and films and skeletons for other programs.

    python generate.py --text "a person walks forward" --text "someone waves with the left hand" --out-dir output/demo

With --concat the sentences become one motion, each going over into the next: of any length, and in their order.

Without checkpoint flags it uses the weights that ship with the code. It prints the paths it wrote: of html, npy, npz,
bvh, mp4 and gif what --formats says. npy files hold joints [T, J, 3] in metres, y up; npz files those, features, ids
and all that it takes to make them again; bvh files are in centimetres and have Mixamo's joint names. The same command
writes the same files.
"""

from pathlib import Path

from options.flags import given_in_order, parse
from options.option_generate import GenerateOptions
from options.prompts import (
    check_numbers,
    file_stem,
    read_formats,
    read_lengths,
    read_lengths_in_order,
    read_texts,
    record,
    warn_of_unknown,
)  # fmt: skip
from options.sizes import check_sizes, stage1_sizes, stage2_sizes
from utils.errors import fail, stoppable


@stoppable
def main() -> None:
    options = parse(GenerateOptions, __doc__)
    try:
        texts, formats = read_texts(options), read_formats(options.formats)
        check_numbers(options)

        # torch takes seconds to import: mistakes in the flags are told before
        from models.edits import generate_long
        from models.pipeline import MotionPipeline
        from utils.export import Export, write_motion

        pipeline = MotionPipeline.load(
            options.resume_pth, options.resume_trans, options.device, options.resume_length, options.precision,
            options.dataname, options.clip_model, order_noise=options.order_noise,
        )  # fmt: skip
        check_sizes(options, stage1_sizes(pipeline.tokenizer.config) | stage2_sizes(pipeline.transformer.config))
        shortest, longest, count = pipeline.shortest, pipeline.longest, len(texts)
        if options.concat:
            lengths = read_lengths_in_order(given_in_order(("text", "length")), count, shortest, longest)
            pipeline.check_transitions(options.num_transition_token)
        else:
            lengths = read_lengths(options.length, count, shortest, longest) or [None] * count
        lengths = pipeline.fill_lengths(texts, lengths)
        warn_of_unknown(pipeline, texts)
        out_dir = Path(options.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        sampling = (options.seed, options.temperature, options.cfg_scale, options.steps, options.plant_feet)
        if options.concat:
            motions = generate_long(
                pipeline, texts, lengths, *sampling, options.num_transition_token, options.transition_text,
                options.num_samples,
            )  # fmt: skip
        else:
            repeated = [text for text in texts for _ in range(options.num_samples)]
            motions = pipeline.generate(repeated, [n for n in lengths for _ in range(options.num_samples)], *sampling)
        settings = record(options, pipeline, texts, lengths)
        for i, motion in enumerate(motions):
            number, sample = divmod(i, options.num_samples)
            path = out_dir / file_stem(number, motion.text, sample)
            made = Export(
                motion.joints, pipeline.spec, motion.text, motion.fps, text=motion.text, features=motion.features,
                ids=motion.ids, seed=options.seed,
                marks={"transition": motion.generated} if options.concat else {},
                settings=settings | {"number": number, "sample": sample},
            )  # fmt: skip
            for written in write_motion(path, formats, made):
                print(written)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write to --out-dir {options.out_dir}: {error}")


if __name__ == "__main__":
    main()
