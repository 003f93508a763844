"""Flags of stage 2, with the published names and defaults (spec/model.md 2)."""

from dataclasses import dataclass

from options.flags import flag
from options.sizes import Stage1Sizes
from options.training import StageOptions


@dataclass(frozen=True)
class TransformerOptions(StageOptions, Stage1Sizes):
    batch_size: int = flag(128, "rows a step", least=1)
    lr_scheduler: tuple[int, ...] = flag((150_000,), "steps at which the learning rate is multiplied by gamma")
    weight_decay: float = flag(1e-6, "of AdamW", least=0)
    optimizer: str = flag("adamw", "optimiser", choices=("adamw", "adam"))
    decay_option: str = flag("all", "which weights decay: all, or those of the matrices only", choices=("all", "noVQ"))

    vq_name: str = flag("vq", "stage-1 run whose tokenizer is used, in OUT_DIR/vq or else in output/vq")
    resume_pth: str | None = flag(None, "stage-1 checkpoint, instead of --vq-name")
    block_size: int = flag(51, "positions: ids of a row and the sentence", least=3)
    embed_dim_gpt: int = flag(1024, "width of the transformer", least=2)
    clip_dim: int = flag(512, "width of the text features", least=2)
    num_layers: int = flag(9, "blocks: twice this less --num-local-layer of self-attention", least=1)
    num_local_layer: int = flag(2, "blocks of cross-attention to the words", least=0)
    n_head_gpt: int = flag(16, "attention heads", least=1)
    ff_rate: int = flag(4, "width of the MLPs, in widths of the transformer", least=1)
    drop_out_rate: float = flag(0.1, "dropout", least=0)
    shifts: int = flag(1, "token rows a clip, each from one frame later", least=1)
    crop: float = flag(1.0, "rows are random stretches of their clips, at least this share of each; 1 takes them whole")
    lower_mask: float = flag(
        0.5, "with --sep-uplow: share of the rows that have a random share of their lower ids masked", least=0
    )
    pkeep: float = flag(0.5, "share of the motion ids that is not replaced by random ones; -1 draws it each step")

    text_encoder: str = flag(
        "clip",
        "clip: frozen, as published; learned: trained with the model on the captions",
        choices=("clip", "learned"),
    )
    clip_model: str | None = flag(
        None, "where CLIP is: a hub name, a folder, or ViT-B-32.pt (default: ViT-B/32 of the hub)"
    )
    text_layers: int = flag(2, "blocks of the learned text encoder", least=0)
    text_dropout: float = flag(0.1, "share of the rows trained without their text, for guidance")
    ema: float = flag(0.0, "decay of the running mean of the weights that is saved in their place; 0 saves the weights")

    resume_trans: str | None = flag(None, "stage-2 checkpoint to start from")
    out_dir: str = flag("output", "the run is written to OUT_DIR/EXP_NAME")
    exp_name: str = flag("trans", "name of the run")
