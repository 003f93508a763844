"""Flags of edit.py."""

from dataclasses import dataclass

from options.flags import flag, word
from options.sampling import SamplingOptions

TASKS = ("inbetween", "outpaint", "prefix", "suffix", "range", "upper", "long")


@dataclass(frozen=True)
class EditOptions(SamplingOptions):
    task: str = word(TASKS, "what is made: see above")
    motion: str | None = flag(None, "a motion (.npy or .bvh), or a folder of them; not for long")
    frames: tuple[str, ...] = flag((), "of range: the frames that are made, as FIRST:END (END is not made)")
    lower_mask: float | None = flag(
        None, "of upper: share of the lower body's tokens that is hidden from the model, 0 to 1 (default: 0.8 where "
        "there is a sentence, else 0; 0 for the released checkpoints)", least=0,
    )  # fmt: skip
    keep_exact: bool = flag(True, "kept frames come back as they were given; without it, as the tokenizer renders them")
    blend: int | None = flag(
        None, "made frames at a seam that are led from and to the kept ones (default: half a second's)", least=0
    )
    bend: bool = flag(
        False, "bend what is made so that what follows stands where it stood; without it, it follows where that arrives"
    )
    joint_map: str | None = flag(
        None, "of a .bvh whose skeleton is not known: JSON file that says where the joints are"
    )
    scale: float | None = flag(None, "of a .bvh: metres per unit (default: guessed from the body)")
    up: str = flag("y", "of a .bvh: its vertical axis", choices=("y", "z"))
    out_dir: str = flag("output/edit", "where the files go")
