"""How many clips a second become ids: in padded batches, as the codebook is exported, against one at a time.

    python -m benchmarks.codebook_export
    python -m benchmarks.codebook_export --device cuda --clips 4096

The tokenizer has the published size and random weights, the clips have random features and 40 to 196 frames. Both ways
take the same clips, turn about, so that whatever else the machine does slows both; each way's best round counts, and
its least processor time, which says more where others use the same cores. It also says how many ids differ: none
should, but for ties that rounding decides.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dataset.humanml import Clip
from dataset.spec import T2M
from dataset.tokens import encode_clips
from models.encdec import ConvConfig
from models.vqvae import VQVAE, VQConfig
from options.flags import flag, parse
from utils.errors import fail
from utils.runtime import pick_device

FRAMES = (40, 197)  # of a clip, the last not included


@dataclass(frozen=True)
class CodebookExportOptions:
    clips: int = flag(256, "how many to make up", least=1)
    width: int = flag(512, "channels of the tokenizer", least=1)
    codes: int = flag(8192, "codes of the tokenizer", least=1)
    rounds: int = flag(2, "times that each way is measured", least=1)
    threads: int | None = flag(None, "of the CPU (default: torch's own choice)", least=1)
    device: str = flag("auto", "auto, cpu or cuda")


def make_model(options: CodebookExportOptions, device: torch.device) -> VQVAE:
    """A tokenizer with random weights, whose codes are spread as its latents are."""
    torch.manual_seed(0)
    model = VQVAE(VQConfig(T2M.dim, options.codes, conv=ConvConfig(width=options.width))).to(device).eval()
    with torch.no_grad():
        latents = model.latents(torch.randn(8, 196, T2M.dim, device=device))[0][0].flatten(0, 1)
        codebook = torch.randn(model.codebooks()[0].shape, device=device) * latents.std(dim=0) + latents.mean(dim=0)
        model.quantizer.codebook.copy_(codebook)
    return model


def make_clips(count: int) -> list[Clip]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(*FRAMES, count).tolist()
    return [
        Clip(str(i), rng.standard_normal((length, T2M.dim), dtype=np.float32), ()) for i, length in enumerate(lengths)
    ]


@torch.no_grad()
def one_at_a_time(model: VQVAE, clips: list[Clip], device: torch.device) -> list[torch.Tensor]:
    """Ids [L] of every clip, as a loop over the clips gives them."""
    unit = model.config.frames_per_token
    found = []
    for clip in clips:
        motion = torch.from_numpy(clip.motion[: len(clip.motion) // unit * unit]).to(device)
        found.append(model.encode(model.normalise(motion)[None])[0].cpu())
    return found


def main() -> None:
    options = parse(CodebookExportOptions, __doc__)
    try:
        device = pick_device(options.device)
    except ValueError as error:
        fail(str(error))
    if options.threads:
        torch.set_num_threads(options.threads)
    model, clips = make_model(options, device), make_clips(options.clips)
    ways: dict[str, Callable] = {"one at a time": one_at_a_time, "in padded batches": encode_clips}
    ids = {}
    seconds, busy = ({way: float("inf") for way in ways} for _ in range(2))
    for way in ways.values():
        way(model, clips[:4], device)  # what is done once only
    for _ in range(options.rounds):
        for name, way in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            ids[name] = way(model, clips, device)  # on the CPU when it returns: nothing is left to wait for
            seconds[name] = min(seconds[name], time.perf_counter() - begun)
            busy[name] = min(busy[name], time.process_time() - used)

    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{options.clips} clips, width {options.width}, {options.codes} codes, {where}\n")
    print(f"{'':20}{'seconds':>10}{'clips/s':>10}{'ratio':>8}{'CPU seconds':>15}{'ratio':>8}")
    alone = "one at a time"
    for name in ways:
        wall = f"{seconds[name]:10.2f}{options.clips / seconds[name]:10.1f}{seconds[alone] / seconds[name]:8.2f}"
        print(f"{name:20}{wall}{busy[name]:15.2f}{busy[alone] / busy[name]:8.2f}")
    one, other = (torch.cat(found) for found in ids.values())
    print(f"\nids that differ: {int((one != other).sum())} of {len(one)}, which hold {len(one.unique())} codes")


if __name__ == "__main__":
    main()
