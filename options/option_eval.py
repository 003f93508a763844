"""Flags of GPT_eval_multi.py. The published stage-1 and stage-2 sizes are accepted, and checked against the
checkpoints."""

from dataclasses import dataclass

from options.flags import flag
from options.sampling import DrawOptions, WeightOptions
from options.sizes import Stage1Sizes, Stage2Sizes

TASKS = ("inbetween", "outpaint", "prefix", "suffix", "upper")


@dataclass(frozen=True)
class EvalOptions(DrawOptions, WeightOptions, Stage1Sizes, Stage2Sizes):
    evaluator: str | None = flag(
        None, "the judge (default: checkpoints/DATANAME/text_mot_match/model/finest.tar of t2m and kit, else "
        "pretrained/evaluator.pth)"
    )  # fmt: skip
    glove: str = flag("glove", "folder of word vectors (our_vab_*), for a judge that has none of its own")
    stage: str = flag("trans", "what is evaluated: trans, text to motion; vq, the tokenizer alone", ("trans", "vq"))
    task: str | None = flag(None, "evaluate an edit instead: what is kept, or made, of each motion", TASKS)

    dataname: str | None = flag(None, "dataset of checkpoints that do not say it: t2m, kit or bandai")
    data_root: str | None = flag(None, "folder of the dataset, where it is not in its usual place")
    split: str = flag("test", "which clips: train, val or test")
    repeat: int = flag(20, "times that all is drawn and sampled anew", least=1)
    seed: int = flag(123, "of every random draw")

    length_source: str = flag("true", "how long motions are: true, as the real ones; predicted", ("true", "predicted"))
    lower_mask: float | None = flag(
        None, "of --task upper: share of the lower body's tokens that is hidden (default: as edit.py does)", least=0
    )
    feet: bool | None = flag(
        None, "take the sliding off feet that stand (default: as generate.py does, but not for t2m and kit, whose "
        "published figures know no such thing, and not for the tokenizer alone)"
    )  # fmt: skip
    mm_texts: int = flag(32, "texts of which MultiModality is measured in each repeat; 0 leaves it out", least=0)
    mm_motions: int = flag(11, "motions of each of them", least=2)
    mm_pairs: int = flag(10, "pairs of motions compared for each of them", least=1)

    clip_model: str | None = flag(None, "where CLIP is: a hub name, a folder, or ViT-B-32.pt (default: as trained)")
    device: str = flag("auto", "auto, cpu or cuda")
    precision: str = flag(
        "auto", "auto, 32 or bf16, of the transformer; in bf16 a motion may depend on what else is in its batch",
        ("auto", "32", "bf16"),
    )  # fmt: skip
    out_dir: str = flag("output", "the run is written to OUT_DIR/eval/EXP_NAME")
    exp_name: str = flag("eval_name", "name of the run")
