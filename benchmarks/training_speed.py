"""Items a second of both stages' training: as the training scripts do it, against a plain loop.

    python -m benchmarks.training_speed
    python -m benchmarks.training_speed --stage trans --trans-batch 128 --rounds 3

The plain loop is what one writes first: float32, eager; every item is cut, normalised and padded by itself in Python,
tokens to the full row, and stacked (as a DataLoader without worker processes does); AdamW goes through the weights one
by one. The training scripts gather a batch at once from data in memory, multiply in bfloat16 where the machine does
that faster (the quantizer stays in float32), share batches of like length among rows of tokens, and update all weights
in one call. Both compute the same losses with the same networks, and steps of both alternate, so that whatever else the
machine does hits both; the figures are medians of the steps.

Stage 1 has the published size (width 512, 8192 codes), in batches of 64, not 256; stage 2 the size of the README's own
training (width 256, 7 M weights), or with --trans-size published the paper's 236 M, which takes a CPU core half a
minute a step. Data are made up, with lengths about as HumanML3D's: 40 to 199 frames, a fifth of them at the limit. Text
features are given, as those of a frozen CLIP are kept on disk.
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import Table, machine
from dataset.humanml import Caption, Clip
from dataset.spec import T2M
from dataset.tokens import TokenRows
from dataset.windows import Windows
from models.ids import end_id, length_mask, mask_id, pad_id
from models.masking import training_rows
from models.text_encoder import TextFeatures
from models.transformer import MaskedTransformer, TransformerConfig
from models.vqvae import VQVAE, Reconstruction, VQConfig
from options.flags import flag, parse
from train_t2m_trans import TextToLogits, motion_loss
from utils.losses import reconstruction_loss
from utils.runtime import autocast, pick_device, pick_precision

WINDOW, UNIT, WORDS, ROW = 64, 4, 20, 50
SIZES = {
    "readme": TransformerConfig(codes=512, text_dim=256, width=256, heads=4, layers=4),
    "published": TransformerConfig(),
}
Step = Callable[[], None]


@dataclass(frozen=True)
class TrainingSpeedOptions:
    stage: str = flag("both", "which", choices=("both", "vq", "trans"))
    vq_batch: int = flag(64, "windows a step; published 256", least=1)
    trans_batch: int = flag(64, "rows a step; published 128", least=1)
    trans_size: str = flag("readme", "of stage 2's networks", choices=("readme", "published"))
    rounds: int = flag(7, "steps of each way, after one that is not counted", least=1)
    clips: int = flag(500, "how many to make up", least=1)
    compile: bool = flag(False, "measure the scripts' --compile too")
    threads: int | None = flag(None, "of the CPU (default: torch's own choice)", least=1)
    cpu_time: bool = flag(
        False, "count processor seconds, not the clock's: with --threads 1, where others use the machine too"
    )
    device: str = flag("auto", "auto, cpu or cuda")


def make_clips(count: int) -> list[Clip]:
    rng = np.random.default_rng(0)
    lengths = np.minimum(40 + 204 * rng.random(count), 199).astype(int)
    frames = rng.standard_normal((lengths.sum(), T2M.dim), dtype=np.float32)
    stretches = np.split(frames, np.cumsum(lengths)[:-1])
    return [Clip(f"{i:06d}", motion, (Caption(f"text {i}", ()),)) for i, motion in enumerate(stretches)]


# --- Stage 1 ----------------------------------------------------------------------------------------------------------


def vq_loss(out: Reconstruction, motion: Tensor, lengths: Tensor) -> Tensor:
    mask, joints, restored = length_mask(lengths, motion.shape[1]), T2M.position_slice, out.motion.float()
    features = reconstruction_loss("l1_smooth", restored, motion, mask)
    positions = reconstruction_loss("l1_smooth", restored[..., joints], motion[..., joints], mask)
    return features + 0.5 * positions + 0.02 * out.loss


def vq_ways(clips: list[Clip], options: TrainingSpeedOptions, device: torch.device) -> dict[str, Step]:
    """A step of each way, by name."""
    mean, std = torch.zeros(T2M.dim), torch.ones(T2M.dim)
    windows = Windows(clips, mean, std, WINDOW, UNIT, device=device)
    draws = torch.Generator().manual_seed(0)

    def plain_item() -> tuple[Tensor, int]:
        motion = torch.from_numpy(random.choice(clips).motion)
        length = min(len(motion) // UNIT * UNIT, WINDOW)
        first = random.randint(0, len(motion) - length)
        window = (motion[first : first + length] - mean) / std
        return torch.nn.functional.pad(window, (0, 0, 0, WINDOW - length)), length

    def plain_batch() -> tuple[Tensor, Tensor]:
        motion, lengths = zip(*(plain_item() for _ in range(options.vq_batch)))
        return torch.stack(motion).to(device), torch.tensor(lengths, device=device)

    def way(draw: Callable[[], tuple[Tensor, Tensor]], precision: str, fused: bool, compiled: bool = False) -> Step:
        torch.manual_seed(0)
        model = VQVAE(VQConfig(T2M.dim)).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), 2e-4, betas=(0.9, 0.99), fused=fused, foreach=False)
        if compiled:
            model.encoder.compile()
            model.decoder.compile()

        def step() -> None:
            motion, lengths = draw()
            with autocast(device, precision):
                out = model(motion, lengths, draws)
            loss = vq_loss(out, motion, lengths)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    precision = pick_precision("auto", device)
    ours = lambda: windows.draw(options.vq_batch, draws)  # noqa: E731
    ways = {"plain loop": way(plain_batch, "32", False), f"train_vq.py, {precision}": way(ours, precision, True)}
    if options.compile:
        ways[f"train_vq.py --compile, {precision}"] = way(ours, precision, True, True)
    return ways


# --- Stage 2 ----------------------------------------------------------------------------------------------------------


def trans_ways(clips: list[Clip], options: TrainingSpeedOptions, device: torch.device) -> dict[str, Step]:
    """A step of each way, by name."""
    config = SIZES[options.trans_size]
    codes, batch_size = config.codes, options.trans_batch
    ids = [torch.randint(codes, (len(clip.motion) // UNIT,)) for clip in clips]
    table = torch.randn(len(clips), WORDS, config.text_dim)
    rows = TokenRows(clips, ids, codes, ROW - 1)
    draws = torch.Generator().manual_seed(0)
    batches = rows.batches(batch_size, draws)

    def features(texts: list[str]) -> TextFeatures:
        words = table[[int(text.split()[1]) for text in texts]].to(device)
        return TextFeatures(words[:, 0], words, torch.ones(words.shape[:2], dtype=torch.bool, device=device))

    def plain_item() -> tuple[Tensor, Tensor, Tensor, str]:
        """Ids to predict, the ids shown, which are motion (all [ROW]), and the text."""
        i = random.randrange(len(clips))
        row = ids[i][: ROW - 1]
        if random.random() < 1 / 3 and len(row) > 1:
            row = row[:-1] if random.random() < 0.5 else row[1:]
        length = len(row)
        target = torch.full((ROW,), pad_id(codes))
        target[:length], target[length] = row, end_id(codes)
        shown = target.clone()
        replaced = torch.rand(length) < 0.5
        shown[:length][replaced] = torch.randint(codes, (int(replaced.sum()),))
        count = max(1, round((0.5 + 0.5 * random.random()) * length))
        shown[torch.randperm(length)[:count]] = mask_id(codes)
        return target, shown, torch.arange(ROW) < length, random.choice(clips[i].captions).text

    def plain_batch() -> tuple[Tensor, Tensor, Tensor, list[str]]:
        target, shown, motion, texts = zip(*(plain_item() for _ in range(batch_size)))
        return torch.stack(target), torch.stack(shown), torch.stack(motion), list(texts)

    def our_batch() -> tuple[Tensor, Tensor, Tensor, list[str]]:
        batch = next(batches)
        motion = length_mask(batch.lengths, batch.rows.shape[1])
        shown, _ = training_rows(batch.rows, motion, codes, draws, pkeep=0.5)
        return batch.rows, shown, motion, batch.texts

    torch.manual_seed(0)
    model = TextToLogits(MaskedTransformer(config), None).to(device).train()  # one for all ways: it is large

    def way(draw: Callable[[], tuple], precision: str, optimizer: torch.optim.Optimizer, stance: str) -> Step:
        def step() -> None:
            torch.compiler.set_stance(stance)
            *tensors, texts = draw()
            target, shown, motion = (x.to(device) for x in tensors)
            with autocast(device, precision):
                logits = model(shown, features(texts))
            loss = motion_loss(logits, target, motion)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    precision = pick_precision("auto", device)
    weights = list(model.parameters())
    kind = {"lr": 2e-4, "betas": (0.5, 0.9), "weight_decay": 1e-6}
    fused = torch.optim.AdamW(weights, **kind, fused=True)
    ways = {
        "plain loop": way(plain_batch, "32", torch.optim.AdamW(weights, **kind, foreach=False), "force_eager"),
        f"train_t2m_trans.py, {precision}": way(our_batch, precision, fused, "force_eager"),
    }
    if options.compile:
        for block in (*model.transformer.cross_att, *model.transformer.blocks):
            block.compile(dynamic=True)
        ways[f"train_t2m_trans.py --compile, {precision}"] = way(our_batch, precision, fused, "default")
    return ways


# --- Both -------------------------------------------------------------------------------------------------------------


def seconds_a_step(
    ways: dict[str, Step], rounds: int, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Medians; the ways take turns. Of a GPU the time until it has done all it was asked for."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, step in ways.items():
            begun = clock()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                taken[name].append(clock() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def tables(options: TrainingSpeedOptions = TrainingSpeedOptions()) -> list[Table]:
    """Items a second of both stages, and how many times the plain loop that is."""
    device = pick_device(options.device)
    clips, found = make_clips(options.clips), []
    clock = time.process_time if options.cpu_time else time.perf_counter
    stages = {
        "vq": (vq_ways, options.vq_batch, "stage 1, windows"),
        "trans": (trans_ways, options.trans_batch, "stage 2, rows"),
    }
    for stage, (make, batch, name) in stages.items():
        if options.stage not in ("both", stage):
            continue
        seconds = seconds_a_step(make(clips, options, device), options.rounds, device, clock)
        for way, taken in seconds.items():
            ratio = seconds["plain loop"] / taken
            found.append((f"{name}, batches of {batch}", way, f"{batch / taken:.2f}", f"{ratio:.2f}"))
    if device.type != "cuda":
        found.append(("both stages", "on a GPU", "not measured", "not measured"))
    clock = "of the processor" if options.cpu_time else "by the clock"
    return [Table(f"Training steps, {device.type}", ("what", "way", f"a second {clock}", "times plain"), found)]


def main() -> None:
    options = parse(TrainingSpeedOptions, __doc__)
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"{machine()}\n", flush=True)
    for table in tables(options):
        print(table.markdown())


if __name__ == "__main__":
    main()
