"""Flags of the length model."""

from dataclasses import dataclass

from options.flags import flag


@dataclass(frozen=True)
class LengthOptions:
    dataname: str = flag("t2m", "dataset: t2m, kit or bandai")
    data_root: str | None = flag(None, "folder of the dataset, where it is not in its usual place")
    batch_size: int = flag(128, "sentences a step")
    total_iter: int = flag(2000, "steps")
    warm_up_iter: int = flag(100, "steps over which the learning rate rises")
    lr: float = flag(1e-3, "learning rate")
    weight_decay: float = flag(1e-2, "of AdamW")
    width: int = flag(96, "width of the text encoder")
    layers: int = flag(1, "blocks of the text encoder")
    out_dir: str = flag("output", "the run is written to OUT_DIR/EXP_NAME")
    exp_name: str = flag("length", "name of the run")
    print_iter: int = flag(200, "steps between log lines")
    eval_iter: int = flag(500, "steps between evaluations on the validation split")
    seed: int = flag(123, "of every random draw")
    device: str = flag("auto", "auto, cpu or cuda")
