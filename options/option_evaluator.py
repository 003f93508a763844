"""Flags of the judge."""

from dataclasses import dataclass

from options.flags import flag
from options.training import TrainingOptions


@dataclass(frozen=True)
class EvaluatorOptions(TrainingOptions):
    batch_size: int = flag(32, "pairs a step, each mismatched with all others", least=2)
    total_iter: int = flag(50_000, "steps", least=1)
    warm_up_iter: int = flag(0, "steps over which the learning rate rises", least=0)
    lr: float = flag(1e-4, "learning rate", least=0)
    cosine: bool = flag(False, "lower the learning rate to nothing along a half cosine")
    margin: float = flag(10.0, "distance at which a mismatched pair is far enough apart", least=0)
    glove: str | None = flag(None, "folder of word vectors (our_vab_*); without it they are learned from the captions")
    dim_word: int = flag(300, "width of learned word vectors", least=1)
    dim_coemb: int = flag(512, "width of the embedding: FID needs more test clips than that", least=1)
    dim_text_hidden: int = flag(512, "width inside the text encoder", least=1)
    dim_movement_hidden: int = flag(512, "width inside the movement encoder", least=1)
    dim_movement: int = flag(512, "width of a step of four frames", least=1)
    dim_motion_hidden: int = flag(1024, "width inside the motion encoder", least=1)
    out_dir: str = flag("output", "the run is written to OUT_DIR/EXP_NAME")
    exp_name: str = flag("evaluator", "name of the run")
