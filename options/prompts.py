"""What people say to generate.py and edit.py: sentences, lengths, formats. Every mistake is a ValueError in words."""

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from options.sampling import SamplingOptions

LONGEST_TEXT = 1000  # characters


def read_texts(options: SamplingOptions) -> list[str]:
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
        if not text.strip():
            raise ValueError("a sentence is empty: say what the person does, as in --text 'a person walks forward'")
        check_text(text)
    return texts


def check_text(text: str) -> None:
    """ValueError for a sentence that no model can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a sentence holds bytes that are no UTF-8 text") from error
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a sentence has {len(text)} characters: at most {LONGEST_TEXT} can be used")


def read_lengths(given: tuple[str, ...], texts: int, shortest: int, longest: int) -> list[int] | None:
    """Frames for each sentence, None where they are to be predicted. Raises ValueError, with the range, for others."""
    if not given:
        return None
    lengths = [_length(value, shortest, longest) for value in given]
    if len(given) not in (1, texts):
        raise ValueError(f"--length: {len(given)} numbers for {texts} sentences; give one for all or one for each")
    return lengths * (texts if len(given) == 1 else 1)


def read_lengths_in_order(
    given: list[tuple[str, list[str]]], texts: int, shortest: int, longest: int
) -> list[int | None]:
    """Frames for each sentence of a row of them, None where they are to be predicted.

    `given` is --text and --length in the order of the command line (options.flags.given_in_order): a --length is for
    the sentences before it that have none yet, one number for all of them or one for each. The sentences of a file, if
    `texts` counts more than the flags give, come before all. Raises ValueError where the numbers do not match.
    """
    lengths: list[int | None] = [None] * (texts - sum(len(values) for name, values in given if name == "text"))
    begun = 0  # the first sentence without a number of its own
    for name, values in given:
        if name == "text":
            lengths += [None] * len(values)
            continue
        waiting = len(lengths) - begun
        if not waiting:
            raise ValueError("--length is for the sentences before it: give it after a --text without one")
        if len(values) not in (1, waiting):
            raise ValueError(
                f"--length: {len(values)} numbers for {waiting} sentences; give one for all or one for each"
            )
        numbers = [_length(value, shortest, longest) for value in values]
        lengths[begun:] = numbers * (waiting if len(values) == 1 else 1)
        begun = len(lengths)
    return lengths


def _length(value: str, shortest: int, longest: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", value) or not shortest <= int(value) <= longest:
        raise ValueError(f"--length must be a whole number of frames from {shortest} to {longest}, not {value!r}")
    return int(value)


def read_formats(text: str) -> list[str]:
    """The formats of --formats. Raises ValueError for one that is not known, or that cannot be written here."""
    from utils.export import check_formats  # matplotlib takes half a second: --help does not wait for it

    try:
        formats = [part.strip().lower() for part in text.split(",") if part.strip()]
        check_formats(formats)
    except ValueError as error:
        raise ValueError(f"--formats {text}: {error}") from error
    return formats


def check_numbers(options: SamplingOptions) -> None:
    """ValueError for numbers beyond any use."""
    for name, value in (
        ("--temperature", options.temperature), ("--cfg-scale", options.cfg_scale),
        ("--order-noise", options.order_noise),
    ):  # fmt: skip
        if value is not None and not value <= 100:
            raise ValueError(f"{name} must be from 0 to 100, not {value}")


def record(options: SamplingOptions, pipeline: Any, texts: list[str], frames: list[int]) -> dict[str, Any]:
    """What an npz says of how it was made: the flags that had a say, the sentences, their frames, the checkpoints."""
    without = ("out_dir", "formats", "text_file")
    flags = {name: value for name, value in asdict(options).items() if value is not None and name not in without}
    return {"flags": flags, "texts": texts, "frames": frames, **pipeline.provenance}


def warn_of_unknown(pipeline: Any, texts: list[str]) -> None:
    """Say on stderr what of the sentences the model never read."""
    for text in dict.fromkeys(texts):
        if unknown := pipeline.text_encoder.unknown_words(text):
            print(f"warning: {text!r}: this model {told_unknown(unknown)}", file=sys.stderr)


def told_unknown(words: list[str]) -> str:
    """What is said of words that a model does not know."""
    return f"never read {', '.join(map(repr, words))}, and takes them for other words"


def file_stem(number: int, text: str, sample: int) -> str:
    """A file name from a sentence: its letters and digits alone, so that it cannot lead anywhere else."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())[:48].strip("-")
    return f"{number:03d}_{words or 'motion'}_{sample}"
