"""Motion from text: an HTML page that plays it, and its joints.

    python generate.py --text "a person walks forward" --text "someone waves with the left hand" --out-dir output/demo

Without checkpoint flags it uses the weights that ship with the code. It prints the paths it wrote. npy files hold
joints [T, J, 3] in metres, y up. The same command writes the same files.
"""

import re
import sys
from pathlib import Path

import numpy as np

from options.flags import parse
from options.option_generate import GenerateOptions
from options.sizes import check_sizes, stage1_sizes, stage2_sizes
from utils.errors import fail

LONGEST_TEXT = 1000  # characters


def read_texts(options: GenerateOptions) -> list[str]:
    """The sentences of --text or --text-file. Raises ValueError where there is none, or one that cannot be used."""
    if bool(options.text) == bool(options.text_file):
        raise ValueError("give sentences with --text, or a file of them with --text-file")
    texts = list(options.text)
    if options.text_file:
        try:
            lines = Path(options.text_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read --text-file {options.text_file}: {error}") from error
        texts = [line.strip() for line in lines if line.strip()]
        if not texts:
            raise ValueError(f"--text-file {options.text_file} holds no sentence")
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("a sentence holds bytes that are no UTF-8 text") from error
        if not text.strip():
            raise ValueError("a sentence is empty: say what the person does, as in --text 'a person walks forward'")
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"a sentence has {len(text)} characters: at most {LONGEST_TEXT} can be used")
    return texts


def read_lengths(given: tuple[str, ...], texts: int, shortest: int, longest: int) -> list[int] | None:
    """Frames for each sentence, None where they are to be predicted. Raises ValueError, with the range, for others."""
    if not given:
        return None
    allowed = f"--length must be a whole number of frames from {shortest} to {longest}"
    for value in given:
        if not re.fullmatch(r"-?[0-9]{1,9}", value) or not shortest <= int(value) <= longest:
            raise ValueError(f"{allowed}, not {value!r}")
    if len(given) not in (1, texts):
        raise ValueError(f"--length: {len(given)} numbers for {texts} sentences; give one for all or one for each")
    return [int(value) for value in given] * (texts if len(given) == 1 else 1)


def read_formats(text: str) -> list[str]:
    """The formats of --formats. Raises ValueError for one that is not known."""
    formats = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in formats if part not in ("html", "npy")]
    if unknown or not formats:
        raise ValueError(f"--formats takes html and npy, not {text!r}")
    return formats


def check_numbers(options: GenerateOptions) -> None:
    """ValueError for numbers beyond any use."""
    for name, value in (("--temperature", options.temperature), ("--cfg-scale", options.cfg_scale)):
        if value is not None and not value <= 100:
            raise ValueError(f"{name} must be from 0 to 100, not {value}")


def file_stem(number: int, text: str, sample: int) -> str:
    """A file name from a sentence: its letters and digits alone, so that it cannot lead anywhere else."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())[:48].strip("-")
    return f"{number:03d}_{words or 'motion'}_{sample}"


def main() -> None:
    options = parse(GenerateOptions, __doc__)
    try:
        texts, formats = read_texts(options), read_formats(options.formats)
        check_numbers(options)

        # torch takes seconds to import: mistakes in the flags are told before
        from models.pipeline import MotionPipeline
        from utils.files import write_text, write_whole
        from utils.visualize import motion_html

        pipeline = MotionPipeline.load(
            options.resume_pth, options.resume_trans, options.device, options.resume_length, options.precision,
            options.dataname, options.clip_model,
        )  # fmt: skip
        check_sizes(options, stage1_sizes(pipeline.tokenizer.config) | stage2_sizes(pipeline.transformer.config))
        lengths = read_lengths(options.length, len(texts), pipeline.shortest, pipeline.longest)
        lengths = pipeline.predict_lengths(texts) if lengths is None else lengths
        for text in texts:
            if not pipeline.text_encoder.understands(text):
                print(f"warning: no word of {text!r} is known to this model: the motion will be any", file=sys.stderr)
        out_dir = Path(options.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        motions = pipeline.generate(
            [text for text in texts for _ in range(options.num_samples)],
            [length for length in lengths for _ in range(options.num_samples)],
            options.seed, options.temperature, options.cfg_scale, options.steps, options.plant_feet,
        )  # fmt: skip
        for i, motion in enumerate(motions):
            number, sample = divmod(i, options.num_samples)
            path = out_dir / file_stem(number, motion.text, sample)
            if "html" in formats:
                page = motion_html(motion.joints, pipeline.spec, motion.text, motion.fps)
                print(write_text(path.with_suffix(".html"), page))
            if "npy" in formats:
                joints = motion.joints.astype(np.float32)
                print(write_whole(path.with_suffix(".npy"), lambda temporary, x=joints: np.save(temporary, x)))
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write to --out-dir {options.out_dir}: {error}")


if __name__ == "__main__":
    main()
