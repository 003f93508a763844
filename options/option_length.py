"""Flags of the length model."""

from dataclasses import dataclass

from options.flags import flag
from options.training import TrainingOptions


@dataclass(frozen=True)
class LengthOptions(TrainingOptions):
    batch_size: int = flag(128, "sentences a step", least=1)
    total_iter: int = flag(2000, "steps", least=1)
    warm_up_iter: int = flag(100, "steps over which the learning rate rises", least=0)
    lr: float = flag(1e-3, "learning rate", least=0)
    weight_decay: float = flag(1e-2, "of AdamW", least=0)
    width: int = flag(96, "width of the text encoder", least=2)
    layers: int = flag(1, "blocks of the text encoder", least=0)
    out_dir: str = flag("output", "the run is written to OUT_DIR/EXP_NAME")
    exp_name: str = flag("length", "name of the run")
    eval_iter: int = flag(500, "steps between evaluations on the validation split", least=1)
