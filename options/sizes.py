"""Sizes that the published command lines repeat: a checkpoint knows its own, so they are accepted and checked."""

from dataclasses import dataclass
from typing import Any

from options.flags import repeated


@dataclass(frozen=True)
class Stage1Sizes:
    nb_code: int | None = repeated("checked: codes in the codebook")
    code_dim: int | None = repeated("checked: width of a code")
    down_t: int | None = repeated("checked: halvings of the frame rate")
    stride_t: int | None = repeated("checked: stride of a halving")
    width: int | None = repeated("checked: channels of the tokenizer")
    depth: int | None = repeated("checked: residual blocks a stage")
    dilation_growth_rate: int | None = repeated("checked where the checkpoint says it: growth of the dilation")
    output_emb_width: int | None = repeated("accepted; has no effect")
    vq_act: str | None = repeated("checked: activation")
    vq_norm: str | None = repeated("checked: norm")
    quantizer: str | None = repeated("accepted: how the codebook learned makes no difference any more")
    mu: float | None = repeated("accepted: likewise")
    beta: float | None = repeated("accepted: likewise")


@dataclass(frozen=True)
class Stage2Sizes:
    block_size: int | None = repeated("checked: positions of the transformer")
    embed_dim_gpt: int | None = repeated("checked: width of the transformer")
    clip_dim: int | None = repeated("checked: width of the text features")
    num_layers: int | None = repeated("checked: blocks of the second stack")
    num_local_layer: int | None = repeated("checked: blocks of cross-attention")
    n_head_gpt: int | None = repeated("checked: attention heads")
    ff_rate: int | None = repeated("checked: width of the MLPs")
    drop_out_rate: float | None = repeated("accepted: dropout is for training")
    pkeep: float | None = repeated("accepted: likewise")


def stage1_sizes(config: Any) -> dict[str, Any]:
    """What a tokenizer's config (models.vqvae.VQConfig) says to the flags."""
    conv = config.conv
    return {
        "nb_code": config.codes, "code_dim": config.code_dim, "down_t": conv.down_t, "stride_t": 2,
        "width": conv.width, "depth": conv.depth, "dilation_growth_rate": conv.growth, "vq_act": conv.activation,
        "vq_norm": conv.norm,
    }  # fmt: skip


def check_sep_uplow(sep_uplow: bool, parts: int, path: str) -> None:
    """ValueError where --sep-uplow is not what the tokenizer of the file `path` is, which has so many parts."""
    if sep_uplow and parts == 1:
        raise ValueError(f"{path} is a whole-body tokenizer: --sep-uplow needs one that was trained with --sep-uplow")
    if parts > 1 and not sep_uplow:
        raise ValueError(f"{path} is an upper-body tokenizer, of upper and lower body apart: give --sep-uplow")


def stage2_sizes(config: Any) -> dict[str, Any]:
    """What a transformer's config (models.transformer.TransformerConfig) says to the flags."""
    return {
        "block_size": config.row_length + 1, "embed_dim_gpt": config.width, "clip_dim": config.text_dim,
        "num_layers": config.layers, "num_local_layer": config.local_layers, "n_head_gpt": config.heads,
        "ff_rate": config.ff_rate,
    }  # fmt: skip


def given_or(options: Any, sizes: dict[str, Any]) -> dict[str, Any]:
    """The sizes, those in the command line's place that it gives."""
    return {name: size if getattr(options, name) is None else getattr(options, name) for name, size in sizes.items()}


def check_sizes(options: Any, sizes: dict[str, Any]) -> None:
    """ValueError where a size given on the command line is not the checkpoint's."""
    for name, size in sizes.items():
        given = getattr(options, name)
        if given is not None and given != size:
            flag_name = "--" + name.replace("_", "-")
            raise ValueError(f"{flag_name} {given} does not fit the checkpoint, which has {size}: leave the flag out")
