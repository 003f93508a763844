"""Flags of stage 1, with the published names and defaults (spec/model.md 1)."""

from dataclasses import dataclass
from typing import Any

from models.encdec import ACTIVATIONS, NORMS
from models.quantize import QUANTIZERS
from models.vqvae import VQConfig
from options.flags import flag
from options.sizes import stage1_sizes
from options.training import StageOptions
from utils.losses import RECONSTRUCTION_LOSSES

PUBLISHED = stage1_sizes(VQConfig())


def size(name: str, help: str, **allowed: Any) -> Any:
    """A size of the networks: None where it is not given, and a checkpoint to start from may say it."""
    return flag(None, f"{help} (default that of --resume-pth, else {PUBLISHED[name]})", **allowed)


@dataclass(frozen=True)
class VQOptions(StageOptions):
    batch_size: int = flag(256, "windows a step", least=1)
    window_size: int = flag(64, "frames a window; shorter clips are used whole", least=1)

    lr_scheduler: tuple[int, ...] = flag((200_000,), "steps at which the learning rate is multiplied by gamma")
    weight_decay: float = flag(0.0, "of AdamW", least=0)
    commit: float = flag(0.02, "weight of the quantizer's loss")
    loss_vel: float = flag(0.5, "weight of the extra loss on joint positions")
    loss_joint: float = flag(
        0.0, "weight of the error of the joints themselves, with the turns summed up (not published)"
    )
    loss_step: float = flag(0.0, "weight of the error of the joints' steps from frame to frame (not published)")
    recons_loss: str = flag("l1_smooth", "loss on the features", choices=tuple(RECONSTRUCTION_LOSSES))

    code_dim: int | None = size("code_dim", "width of a code", least=1)
    nb_code: int | None = size("nb_code", "codes in the codebook", least=1)
    mu: float = flag(0.99, "decay of the codebook's running mean")
    down_t: int | None = size("down_t", "halvings of the frame rate: a token is 2 ** down_t frames", least=1)
    stride_t: int | None = size("stride_t", "stride of a halving; only 2 exists")
    width: int | None = size("width", "channels of the convolutions", least=1)
    depth: int | None = size("depth", "residual blocks a stage", least=0)
    dilation_growth_rate: int | None = size("dilation_growth_rate", "of the residual blocks", least=1)
    output_emb_width: int = flag(512, "accepted for the published command line; has no effect there or here")
    vq_act: str | None = size("vq_act", "activation", choices=tuple(ACTIVATIONS))
    vq_norm: str | None = size("vq_norm", "norm before each activation", choices=NORMS)
    quantizer: str = flag("ema_reset", "how the codebook learns", choices=QUANTIZERS)
    beta: float = flag(1.0, "commitment weight of quantizer orig")

    resume_pth: str | None = flag(None, "stage-1 checkpoint to start from: its weights, sizes and statistics")
    decoder_only: bool = flag(
        False, "with --resume-pth: train the decoder alone, so that a transformer's ids keep their meaning"
    )
    out_dir: str = flag("output", "the run is written to OUT_DIR/vq/EXP_NAME")
    exp_name: str = flag("vq", "name of the run")
