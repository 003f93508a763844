"""Flags of generate.py."""

from dataclasses import dataclass

from options.flags import flag
from options.sampling import SamplingOptions


@dataclass(frozen=True)
class GenerateOptions(SamplingOptions):
    concat: bool = flag(
        False, "one motion of all sentences in a row; a --length is then for the sentences before it that have none yet"
    )
    out_dir: str = flag("output/generate", "where the files go")
