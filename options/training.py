"""Flags that the training scripts have in common."""

from dataclasses import dataclass

from options.flags import flag


@dataclass(frozen=True)
class TrainingOptions:
    """Data, length and record of a run. What differs in its default is declared again where it does."""

    dataname: str = flag("t2m", "dataset: t2m, kit or bandai")
    data_root: str | None = flag(None, "folder of the dataset, where it is not in its usual place")
    total_iter: int = flag(300_000, "steps", least=1)
    warm_up_iter: int = flag(1000, "steps over which the learning rate rises", least=0)
    lr: float = flag(2e-4, "learning rate", least=0)
    print_iter: int = flag(200, "steps between log lines", least=1)
    eval_iter: int = flag(1000, "steps between evaluations on the validation split", least=1)
    seed: int = flag(123, "of every random draw")
    device: str = flag("auto", "auto, cpu or cuda")


@dataclass(frozen=True)
class StageOptions(TrainingOptions):
    """What the two stages share besides."""

    save_iter: int = flag(1000, "steps between states that --resume can go on from", least=1)
    resume: bool = flag(False, "go on from the run's last state, with the same flags; begin where there is none")
    processes: int | None = flag(
        None, "processes on this machine that share each batch (default: one a visible GPU; one on a CPU)", least=1
    )
    compile: bool = flag(False, "compile the networks (torch.compile): some minutes first, faster steps after")
    gamma: float = flag(0.05, "factor of the learning rate at each step of --lr-scheduler")
    cosine: bool = flag(False, "lower the learning rate to nothing along a half cosine instead of in steps")
    balance: float = flag(
        0.0, "0 draws evenly, 1 draws kinds of clips evenly, where the dataset's names tell kinds apart"
    )
    sep_uplow: bool = flag(
        False, "upper and lower body apart: a tokenizer for each, and a transformer that makes the upper from the lower"
    )
    precision: str = flag("auto", "auto, 32 or bf16", choices=("auto", "32", "bf16"))
    evaluator: str | None = flag(
        None, "the judge that looks at validation (default: checkpoints/DATANAME/text_mot_match/model/finest.tar of "
        "t2m and kit, else pretrained/evaluator.pth; without the file no judge looks)"
    )  # fmt: skip
    glove: str = flag("glove", "folder of word vectors (our_vab_*), for a judge that has none of its own")
