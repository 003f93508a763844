"""Does a generated motion show what its sentence asked for? Our own judge, and two checks of the feet and the seeds.

    python -m benchmarks.content_check                                  # the weights that ship with the code
    python -m benchmarks.content_check --resume-pth VQ --resume-trans TRANS --resume-length LENGTH --json out.json

A small classifier learns the contents of benchmarks/plain_prompts.json from the joints of real training clips (once;
it is kept in --judge). It is tried on real clips it has not seen, as they are and through the tokenizer, and then says
what the motions generated from the plain prompts show. The prompts are nobody's training captions.

Axes: B clips, T frames, J joints, C channels of the judge's input, K contents.
"""

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataset.humanml import dataset_folder, read_split
from dataset.prepare.captions import mirror_content
from dataset.spec import BANDAI, DatasetSpec
from models.ids import length_mask
from models.pipeline import MotionPipeline
from options.flags import flag, parse
from options.option_generate import GenerateOptions
from utils.checkpoint import load_checkpoint, load_state, save_checkpoint
from utils.errors import fail
from utils.files import write_text
from utils.metrics import contact_speeds
from utils.motion import features_to_joints
from utils.runtime import pick_device
from utils.skeleton import facing

UNSEEN = ("val", "test")  # what the judge does not learn from
BATCH = 64
SMOOTHING = 0.05  # of the labels the judge learns
CROP = (0.6, 1.0)  # share of a clip that the judge is shown while it learns
NOISE, OFFSET = 0.1, 0.15  # standard deviations of the channels: per frame, and per clip
BLUR = 2.0  # frames: at most so much smoothing over time of half the clips, so that jitter is no mark of a content


@dataclass(frozen=True)
class ContentCheckOptions:
    resume_pth: str | None = flag(None, "stage-1 checkpoint (default: the weights that ship with the code)")
    resume_trans: str | None = flag(None, "stage-2 checkpoint (default: the weights that ship with the code)")
    resume_length: str | None = flag(None, "length model (default: the one that ships, for the weights that ship)")
    prompts: str = flag("benchmarks/plain_prompts.json", "sentences by content")
    seeds: int = flag(2, "motions for each sentence")
    temperature: float = flag(GenerateOptions.temperature, "of the sampling")
    cfg_scale: float = flag(GenerateOptions.cfg_scale, "how closely to follow the sentence")
    steps: int | None = flag(None, "rounds of decoding (default: the model's usual number)", least=1)
    order_noise: float | None = flag(None, "chance in the order of decoding (default: the model's usual one)", least=0)
    precision: str = flag(GenerateOptions.precision, "auto, 32 or bf16", choices=("auto", "32", "bf16"))
    judge: str = flag("output/content_judge.pth", "where the judge is kept")
    retrain: bool = flag(False, "train the judge even where there is one")
    mirrored: bool = flag(True, "let the judge learn from, and be tried on, mirror images as well")
    judge_iter: int = flag(900, "steps of its training")
    real_only: bool = flag(False, "check the judge on real clips and generate nothing")
    json: str | None = flag(None, "file for all figures")
    data_root: str | None = flag(None, "folder of the dataset, where it is not in its usual place")
    seed: int = flag(0, "of the judge's training, and the first of the generated motions")
    device: str = flag("auto", "auto, cpu or cuda")


@dataclass(frozen=True)
class Example:
    """One motion and the content it shows or was asked to show."""

    content: str
    joints: np.ndarray  # [T, J, 3] metres
    source: str  # the clip's name or the sentence


# --- What the judge sees ----------------------------------------------------------------------------------------------


def judge_input(joints: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[T, C] of joints [T, J, 3] in metres, in each frame's own heading, so that place and direction do not count.

    Positions with the root's x and z taken off and the clip's lowest point on the floor (3J), velocities in metres a
    second (3J), rate of turning in radians a second (1).
    """
    joints = np.asarray(joints, dtype=np.float64)
    ahead = facing(joints, spec)
    yaw = np.unwrap(np.arctan2(ahead[:, 0], ahead[:, 2]))  # [T]
    positions = joints - joints[:, :1] * [1.0, 0.0, 1.0] - [0.0, joints[..., 1].min(), 0.0]
    velocities = np.gradient(joints, axis=0) * spec.fps
    parts = (
        _turned_back(positions, yaw).reshape(len(joints), -1),
        _turned_back(velocities, yaw).reshape(len(joints), -1),
        np.gradient(yaw)[:, None] * spec.fps,
    )
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _turned_back(vectors: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Vectors [T, J, 3] of the world in the frame of a body that faces `yaw` [T]."""
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack((cos * x - sin * z, y, sin * x + cos * z), axis=-1)


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of [T, C] as one tensor [B, T, C], and their lengths [B]."""
    lengths = torch.tensor([len(row) for row in rows])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


# --- The judge --------------------------------------------------------------------------------------------------------


class Judge(nn.Module):
    """Three convolutions over time, the first at half the rate, then the mean and the largest of every channel."""

    def __init__(self, channels: int, contents: int, width: int = 128, kernel: int = 5):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        sizes = ((channels, 2), (width, 1), (width, 1))
        self.layers = nn.ModuleList(nn.Conv1d(size, width, kernel, step, kernel // 2) for size, step in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in sizes)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, contents))

    def normalise(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, K] of normalised rows [B, T, C] of lengths [B]; frames past a row's length do not count."""
        x = x * length_mask(lengths, x.shape[1])[..., None]
        for layer, norm in zip(self.layers, self.norms):
            x = layer(x.transpose(1, 2)).transpose(1, 2)
            lengths = torch.div(lengths - 1, layer.stride[0], rounding_mode="floor") + 1
            mask = length_mask(lengths, x.shape[1])[..., None]
            x = F.gelu(norm(x)) * mask  # [B, T / 2, width]
        mean = x.sum(dim=1) / lengths[:, None]
        largest = x.masked_fill(~mask, -torch.inf).amax(dim=1)
        return self.head(torch.cat((mean, largest), dim=-1))


def train_judge(examples: list[Example], contents: list[str], spec: DatasetSpec, steps: int, seed: int) -> Judge:
    """A judge of these contents. Every content is drawn as often as any other, and every clip of it."""
    rows = [torch.from_numpy(judge_input(example.joints, spec)) for example in examples]
    labels = torch.tensor([contents.index(example.content) for example in examples])
    torch.manual_seed(seed)
    judge = Judge(rows[0].shape[1], len(contents))
    frames = torch.cat(rows)
    judge.mean.copy_(frames.mean(dim=0))
    judge.std.copy_(frames.std(dim=0).clamp(min=0.02))
    rows = [judge.normalise(row) for row in rows]

    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.05)
    weights = (1 / torch.bincount(labels, minlength=len(contents)).clamp(min=1))[labels]
    draws = torch.Generator().manual_seed(seed)
    total = 0.0
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, step / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.multinomial(weights, BATCH, replacement=True, generator=draws)
        batch, lengths = padded([_blurred(_cropped(rows[i], draws), draws) for i in chosen])
        batch = batch + NOISE * torch.randn(batch.shape, generator=draws)
        batch = batch + OFFSET * torch.randn(len(batch), 1, batch.shape[2], generator=draws)
        loss = F.cross_entropy(judge(batch, lengths), labels[chosen], label_smoothing=SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() / 100
        if step % 100 == 0:
            print(f"judge: step {step}, loss {total:.4f}", flush=True)
            total = 0.0
    return judge.eval()


def _cropped(row: Tensor, draws: torch.Generator) -> Tensor:
    """A stretch of a row [T, C]."""
    share = CROP[0] + (CROP[1] - CROP[0]) * torch.rand((), generator=draws).item()
    size = max(1, round(share * len(row)))
    start = int(torch.randint(len(row) - size + 1, (), generator=draws))
    return row[start : start + size]


def _blurred(row: Tensor, draws: torch.Generator) -> Tensor:
    """A row [T, C], or that row smoothed over time by a Gaussian."""
    width = BLUR * (2 * torch.rand((), generator=draws).item() - 1)
    if width < 0.3:  # a Gaussian that narrow changes nothing
        return row
    reach = min(math.ceil(2 * width), len(row) - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width) ** 2)
    columns = F.pad(row.T[:, None], (reach, reach), mode="replicate")  # [C, 1, T + 2 reach]
    return F.conv1d(columns, (kernel / kernel.sum())[None, None])[:, 0].T


def find_judge(options: ContentCheckOptions, contents: list[str], spec: DatasetSpec, folder: Path) -> Judge:
    """The judge of --judge, trained first where there is none. Raises ValueError for a file that does not fit."""
    path = Path(options.judge)
    if path.is_file() and not options.retrain:
        content = load_checkpoint(path)
        if content.get("contents") != contents or content.get("mirrored") != options.mirrored:
            raise ValueError(
                f"{path} is no judge of these contents, mirrored or not: give --retrain or another --judge"
            )
        judge = Judge(len(content["judge"]["mean"]), len(contents))
        load_state(judge, content["judge"], path)
        return judge.eval()
    examples = real_examples(spec, folder, ("train",), contents, options.mirrored)
    judge = train_judge(examples, contents, spec, options.judge_iter, options.seed)
    save_checkpoint(path, {"judge": judge.state_dict(), "contents": contents, "mirrored": options.mirrored})
    return judge


@torch.no_grad()
def classify(judge: Judge, examples: list[Example], contents: list[str], spec: DatasetSpec) -> list[str]:
    """What the judge says each example shows."""
    said = []
    for first in range(0, len(examples), BATCH):
        rows = [torch.from_numpy(judge_input(e.joints, spec)) for e in examples[first : first + BATCH]]
        batch, lengths = padded([judge.normalise(row) for row in rows])
        said += [contents[i] for i in judge(batch, lengths).argmax(dim=-1).tolist()]
    return said


# --- Motions to judge -------------------------------------------------------------------------------------------------


def shown_content(name: str, spec: DatasetSpec) -> str | None:
    """The content a clip shows: that of its name, mirrored for a mirror image."""
    kind = spec.kind(name)
    return mirror_content(kind) if kind and name.startswith("M") else kind


def real_examples(
    spec: DatasetSpec, folder: Path, splits: tuple[str, ...], contents: list[str], mirrored: bool = True
) -> list[Example]:
    """The clips of these splits that show one of the contents."""
    examples = []
    for clip in (clip for split in splits for clip in read_split(spec, folder, split)):
        content = shown_content(clip.name, spec)
        if content in contents and (mirrored or not clip.name.startswith("M")):
            joints = features_to_joints(clip.motion, spec) * spec.metres_per_unit
            examples.append(Example(content, joints, clip.name))
    return examples


@torch.no_grad()
def reconstructed(pipeline: MotionPipeline, folder: Path, examples: list[Example], splits: tuple) -> list[Example]:
    """The same clips, encoded and decoded by the tokenizer."""
    motions = {clip.name: clip.motion for split in splits for clip in read_split(pipeline.spec, folder, split)}
    tokenizer, restored = pipeline.tokenizer, []
    for example in examples:
        motion = tokenizer.normalise(torch.from_numpy(motions[example.source]).to(pipeline.device))[None]
        decoded = tokenizer.denormalise(tokenizer.decode(tokenizer.encode(motion)))[0, : motion.shape[1]].cpu()
        joints = features_to_joints(decoded, pipeline.spec).numpy() * pipeline.spec.metres_per_unit
        restored.append(Example(example.content, joints, example.source))
    return restored


def generated(
    pipeline: MotionPipeline, prompts: dict[str, list[str]], options: ContentCheckOptions, seed: int
) -> list[Example]:
    """A motion for every sentence, of the predicted length, in the order of `prompts`."""
    asked = [(content, text) for content, texts in prompts.items() for text in texts]
    motions = pipeline.generate(
        [text for _, text in asked], None, seed, options.temperature, options.cfg_scale, options.steps
    )
    return [Example(content, motion.joints, text) for (content, text), motion in zip(asked, motions)]


# --- Feet and seeds ---------------------------------------------------------------------------------------------------


def foot_sliding(examples: list[Example], shares: dict[str, float], spec: DatasetSpec) -> float:
    """Mean speed in cm/s of feet in contact, every content counting for its share (contents without clips do not)."""
    speeds = defaultdict(list)
    for example in examples:
        speeds[example.content].append(contact_speeds(example.joints, spec))
    means = {content: np.concatenate(found) for content, found in speeds.items()}
    means = {content: found.mean() for content, found in means.items() if len(found)}
    there = [content for content in shares if content in means]
    weight = sum(shares[content] for content in there)
    return float(sum(shares[content] * means[content] for content in there) / weight) if weight else math.nan


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of joints, in metres, of two motions [T, J, 3] over the frames that both have."""
    frames = min(len(first), len(second))
    return float(np.linalg.norm(first[:frames] - second[:frames], axis=-1).mean())


# --- Figures ----------------------------------------------------------------------------------------------------------


def figures_of(examples: list[Example], said: list[str], contents: list[str]) -> dict:
    """Accuracy over all, the mean over contents, per content, how many there are, and the mistakes."""
    right, total = Counter(), Counter()
    for example, word in zip(examples, said):
        total[example.content] += 1
        right[example.content] += word == example.content
    per_content = {content: right[content] / total[content] for content in contents if total[content]}
    return {
        "accuracy": right.total() / total.total(),
        "mean_over_contents": float(np.mean(list(per_content.values()))),
        "per_content": per_content,
        "clips": {content: total[content] for content in contents},
        "mistakes": [
            {"asked": example.content, "said": word, "source": example.source}
            for example, word in zip(examples, said)
            if word != example.content
        ],
    }


def print_table(judged: dict[str, dict], contents: list[str], sliding: dict[str, float]) -> None:
    """One row a content, one column a kind of motion: accuracy in per cent and the number of motions."""
    width = max(map(len, contents)) + 2

    def row(name: str, cells: list[str]) -> None:
        print(name.ljust(width) + "".join(cell.rjust(20) for cell in cells))

    row("recognised", list(judged))
    for content in contents:
        cells = ((f["per_content"].get(content), f["clips"][content]) for f in judged.values())
        row(content, ["-" if share is None else f"{share:.1%} of {count}" for share, count in cells])
    row("all", [f"{f['accuracy']:.1%} of {sum(f['clips'].values())}" for f in judged.values()])
    row("mean of rows", [f"{f['mean_over_contents']:.1%}" for f in judged.values()])
    row("feet, cm/s", [f"{sliding[kind]:.2f}" for kind in judged])
    row("feet, x real", [f"{sliding[kind] / sliding['real']:.2f}" for kind in judged])


def check_seeds(pipeline: MotionPipeline, runs: list[list[Example]], options: ContentCheckOptions) -> dict:
    """Mean joint distance in metres between seeds of a sentence, and whether one seed gives one motion."""
    pairs = [(a, b) for i, first in enumerate(runs) for second in runs[i + 1 :] for a, b in zip(first, second)]
    apart = [distance(a.joints, b.joints) for a, b in pairs]
    some = {"": [example.source for example in runs[0][::20]]}  # without the company they had before
    once, again = (generated(pipeline, some, options, options.seed) for _ in range(2))
    seeds_apart = {"other_seed_distance_m": float(np.mean(apart)), "other_seed_least_m": min(apart)} if apart else {}
    return {
        **seeds_apart,
        "same_seed_identical": all(np.array_equal(a.joints, b.joints) for a, b in zip(once, again)),
        "same_seed_other_company_m": max(distance(a.joints, b.joints) for a, b in zip(once, runs[0][::20])),
    }


def main() -> None:
    options = parse(ContentCheckOptions, __doc__)
    spec = BANDAI
    try:
        prompts = json.loads(Path(options.prompts).read_text(encoding="utf-8"))
        if options.seeds < 1:
            raise ValueError(f"--seeds must be 1 or more, not {options.seeds}")
        contents = list(prompts)
        folder = dataset_folder(spec, options.data_root)
        pipeline = None
        if not options.real_only:
            pipeline = MotionPipeline.load(
                options.resume_pth, options.resume_trans, str(pick_device(options.device)), options.resume_length,
                options.precision, spec.name, order_noise=options.order_noise,
            )  # fmt: skip
        judge = find_judge(options, contents, spec, folder)
        real = real_examples(spec, folder, UNSEEN, contents, options.mirrored)
    except (OSError, json.JSONDecodeError) as error:
        fail(f"cannot read: {error}")
    except ValueError as error:
        fail(str(error))

    kinds, seeds = {"real": real}, {}
    if pipeline:
        kinds["reconstructed"] = reconstructed(pipeline, folder, real, UNSEEN)
        runs = [generated(pipeline, prompts, options, options.seed + i) for i in range(options.seeds)]
        kinds["generated"] = [example for run in runs for example in run]
        seeds = check_seeds(pipeline, runs, options)

    count = sum(map(len, prompts.values()))
    shares = {content: len(texts) / count for content, texts in prompts.items()}
    judged = {
        kind: figures_of(examples, classify(judge, examples, contents, spec), contents)
        for kind, examples in kinds.items()
    }
    sliding = {kind: foot_sliding(examples, shares, spec) for kind, examples in kinds.items()}
    for kind, figures in judged.items():
        print(f"\nmistakes, {kind}: {len(figures['mistakes'])}")
        for mistake in figures["mistakes"]:
            print(f"  {mistake['asked']} -> {mistake['said']}: {mistake['source']}")
    print()
    print_table(judged, contents, sliding)
    for name, value in seeds.items():
        print(f"{name}: {value if isinstance(value, bool) else f'{value:.4g}'}")
    if options.json:
        everything = {"judged": judged, "sliding_cm_s": sliding, "seeds": seeds, "options": vars(options)}
        print(write_text(options.json, json.dumps(everything, indent=2) + "\n"))


if __name__ == "__main__":
    main()
