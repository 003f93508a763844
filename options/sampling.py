"""Flags of all that samples motion. The published sizes are accepted, and checked against the checkpoints."""

from dataclasses import dataclass

from options.flags import flag
from options.sizes import Stage1Sizes, Stage2Sizes
from utils.files import FORMATS


@dataclass(frozen=True)
class WeightOptions:
    """Which models are used."""

    resume_pth: str | None = flag(None, "stage-1 checkpoint (default: the weights that ship with the code)")
    resume_trans: str | None = flag(None, "stage-2 checkpoint (default: the weights that ship with the code)")
    resume_length: str | None = flag(None, "length model (default: the one that ships, for the weights that ship)")


@dataclass(frozen=True)
class DrawOptions:
    """How motions are drawn."""

    temperature: float = flag(1.0, "of the sampling; 0 takes the likeliest tokens", least=0)
    cfg_scale: float | None = flag(
        None, "how closely to follow the sentence: 1 is the model by itself, more is closer (default: 2, of the upper "
        "body alone 6, and 1 for the released checkpoints, which were never trained without text)", least=0,
    )  # fmt: skip
    steps: int | None = flag(
        None, "rounds of decoding for the longest motion; shorter ones take fewer (default: 20; 10 for the released "
        "checkpoints, but 20 for those of the upper body)", least=1,
    )  # fmt: skip
    order_noise: float | None = flag(
        None, "how much chance there is in which tokens stay at each round (default: 3; 0, as published, for the "
        "released checkpoints)", least=0,
    )  # fmt: skip


@dataclass(frozen=True)
class SamplingOptions(DrawOptions, WeightOptions, Stage1Sizes, Stage2Sizes):
    text: tuple[str, ...] = flag((), "sentences to turn into motion; may be given several times")
    text_file: str | None = flag(None, "file with a sentence a line")
    length: tuple[str, ...] = flag(
        (), "frames: one number for all sentences or one for each (default: from the sentence)"
    )
    num_samples: int = flag(1, "motions for each sentence", least=1)
    seed: int = flag(0, "another seed, another motion")
    plant_feet: bool = flag(True, "take the sliding off feet that stand; the poses stay as the model made them")
    num_transition_token: int = flag(2, "tokens made between two sentences' motions in a row", least=0)
    transition_text: str = flag(
        "both",
        "whose sentence they follow: that of the motion before, after, or both",
        choices=("both", "left", "right"),
    )
    formats: str = flag("html,npy", f"files to write for each motion, comma-separated: {', '.join(FORMATS)}")
    dataname: str | None = flag(None, "dataset of checkpoints that do not say it: t2m, kit or bandai")
    clip_model: str | None = flag(None, "where CLIP is: a hub name, a folder, or ViT-B-32.pt (default: as trained)")
    device: str = flag("auto", "auto, cpu or cuda")
    precision: str = flag(
        "32",
        "auto, 32 or bf16; in bf16 a motion may depend on what else is in its batch",
        choices=("auto", "32", "bf16"),
    )
