"""What people ask the page for, checked: every field has a type and bounds, and every mistake is a ValueError in words.

Frames are of the pipeline's rate.
"""

import re
from dataclasses import dataclass
from typing import Any

from models.edits import TASKS
from options.prompts import check_text

MOST_TEXTS = 8
LONGEST_EDIT = 60.0  # seconds of an uploaded motion
SEEDS = 2**31
NUMBERS = {"temperature": (0.0, 3.0, 1.0), "guidance": (0.0, 10.0, None)}  # least, most, usual: None is the model's own


@dataclass(frozen=True)
class Sampling:
    """How to draw, of every request."""

    seed: int
    temperature: float
    guidance: float | None  # None as is usual for the model: the upper body's is led more strongly

    @classmethod
    def read(cls, given: dict[str, Any]) -> "Sampling":
        seed = _whole(given.get("seed", 0), "the seed", 0, SEEDS - 1)
        found = {name: given.get(name, usual) for name, (*_, usual) in NUMBERS.items()}
        for name, (least, most, usual) in NUMBERS.items():
            if found[name] is not None or usual is not None:
                found[name] = _number(found[name], name, least, most)
        return cls(seed, **found)


@dataclass(frozen=True)
class TextRequest:
    """Motions of sentences: each by itself, or all in a row."""

    texts: list[str]
    length: int | None  # of each, in frames; None as the sentence suggests
    sampling: Sampling

    @classmethod
    def read(cls, given: dict[str, Any], shortest: int, longest: int) -> "TextRequest":
        texts = given.get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("texts must be a list of sentences")
        texts = [text.strip() for text in texts if text.strip()]
        if not texts:
            raise ValueError("write a sentence: what does the person do?")
        if len(texts) > MOST_TEXTS:
            raise ValueError(f"at most {MOST_TEXTS} sentences at once, not {len(texts)}")
        for text in texts:
            check_text(text)
        length = given.get("length")
        if length is not None:
            length = _whole(length, "a length", shortest, longest, " frames")
        return cls(texts, length, Sampling.read(given))


@dataclass(frozen=True)
class EditRequest:
    """Frames, or the upper body, of a motion that is there made anew."""

    motion: str  # of which result or upload
    task: str
    ranges: list[tuple[int, int]]  # of frames, of task "range"
    text: str  # "" for none
    bend: bool
    sampling: Sampling

    @classmethod
    def read(cls, given: dict[str, Any], upper: bool) -> "EditRequest":
        motion, text, task = given.get("motion"), given.get("text", ""), "upper" if upper else given.get("task")
        if not isinstance(motion, str) or not motion:
            raise ValueError("choose a motion first: upload one, or make one of a sentence")
        if task not in (*TASKS, "range", "upper"):
            raise ValueError(f"the edits are {', '.join(TASKS)} and range")
        if not isinstance(text, str):
            raise ValueError("the sentence must be text")
        if text.strip():
            check_text(text)
        ranges = read_range(given.get("frames")) if task == "range" else []
        return cls(motion, task, ranges, text.strip(), given.get("bend") is True, Sampling.read(given))


def read_range(given: Any) -> list[tuple[int, int]]:
    """[(first, end)] of "40:80"."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*:\s*([0-9]{1,9})\s*", given) if isinstance(given, str) else None
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError("frames are FIRST:END with FIRST before END, as in 40:80")
    return [(int(found[1]), int(found[2]))]


def _whole(value: Any, name: str, least: int, most: int, unit: str = "") -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}{unit}")
    return value


def _number(value: Any, name: str, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:  # which nan is not
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)
