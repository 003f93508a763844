"""How fast text becomes motion at the published size, against a plain loop on the same weights.

    python -m benchmarks.run --only sampling_speed

The weights are random: speed does not depend on them. The plain way is in float32 with torch's layers as they are:
rows of all 51 positions, all 10 steps, keys and values of the words and logits of every position anew at each, the text
tower once for the sentence's vector and once for its words, motions decoded one at a time. The ways take turns, and a
figure is the median of the rounds. Seconds of the processor stand beside those of the clock: where others use the
machine too, the clock's say little. "Layers as they are" is the way without `models.packed`.

Axes: B sentences, L ids, K codes.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.report import Table
from dataset.spec import T2M
from models.clip import ClipTextEncoder
from models.ids import length_mask, make_rows, mask_id, token_count
from models.packed import PackedLinear, pack
from models.pipeline import MotionPipeline
from models.replay import Replayed
from models.sampling import masked_count, rounds_of
from models.transformer import MaskedTransformer, TransformerConfig
from models.vqvae import VQVAE, VQConfig
from utils.runtime import pick_device, pick_precision

FRAMES = 156  # 39 tokens, so 9 steps
STEPS = 10
ROUNDS = {1: 7, 32: 3}  # of each number of sentences at once
AS_THEY_ARE = "float32, layers as they are"
SENTENCES = ("a person walks forward", "the man crouches and then jumps up", "someone waves with both hands")


@dataclass(frozen=True)
class Parts:
    """The networks as torch has them, in float32."""

    tokenizer: VQVAE
    transformer: MaskedTransformer
    text_encoder: nn.Module

    def pipeline(self, device: torch.device, precision: str, packed: bool = True) -> MotionPipeline:
        """What `MotionPipeline.load` makes of them."""
        transformer, text_encoder = copy.deepcopy((self.transformer, self.text_encoder))
        if packed:
            transformer, text_encoder = pack(transformer, precision), pack(text_encoder, precision)
        replayed = Replayed(transformer.features) if packed and device.type == "cuda" else None
        return MotionPipeline(
            self.tokenizer, transformer, text_encoder, None, T2M, device, precision,
            guidance=1.0, rounds=STEPS, order_noise=0.0, replayed=replayed,
        )  # fmt: skip


def full_size(device: torch.device) -> Parts:
    """Networks of the published sizes with random weights, CLIP's text tower among them."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    def tokenize(texts: list[str], **_) -> dict[str, list[list[int]]]:
        return {"input_ids": [[49406, *(1000 + ord(letter) for letter in text[:60]), 49407] for text in texts]}

    torch.manual_seed(0)
    tokenizer = VQVAE(VQConfig())
    # the published transformer sees all 77 words, padding included
    transformer = MaskedTransformer(TransformerConfig(mask_words=False), tokenizer.codebooks())
    tower = CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8, projection_dim=512,
            bos_token_id=49406, eos_token_id=49407,
        )
    )  # fmt: skip
    parts = (tokenizer, transformer, ClipTextEncoder(tower, tokenize, "random"))
    return Parts(*(part.to(device).eval() for part in parts))


@torch.no_grad()
def plain_ids(parts: Parts, texts: list[str], frames: int, temperature: float = 1.0) -> Tensor:
    """Ids [B, L] by the published loop: all steps, for all positions of full rows."""
    encoder, transformer = parts.text_encoder, parts.transformer
    device, config = parts.tokenizer.mean.device, parts.transformer.config
    tokens, mask = token_count(frames), mask_id(config.codes)
    sentence = torch.cat([encoder([text]).sentence for text in texts])
    words = torch.cat([encoder([text]).words for text in texts])
    lengths = torch.full((len(texts),), tokens, device=device)
    masked = torch.full((len(texts), config.row_length), mask, device=device)
    ids = make_rows(masked, lengths, config.codes, config.row_length)
    motion, rounds = length_mask(lengths, config.row_length), rounds_of(tokens, STEPS)
    score = motion.float()
    for step in range(STEPS):
        chosen = score.topk(masked_count(step, rounds, tokens), dim=1).indices
        fresh = torch.zeros_like(motion).scatter(1, chosen, True)
        ids = ids.masked_fill(fresh, mask)
        logits = transformer(ids, sentence, words)  # [B, L, K]
        chance = logits.softmax(dim=-1)
        if temperature:
            pick = torch.multinomial((logits / temperature).softmax(dim=-1).flatten(0, 1), 1).view_as(ids)
        else:
            pick = logits.argmax(dim=-1)
        ids = torch.where(fresh, pick, ids)
        score = torch.where(fresh, 1 - chance.gather(-1, pick[..., None])[..., 0], 0.0)
    return ids[:, :tokens]


@torch.no_grad()
def plain_motions(parts: Parts, texts: list[str], frames: int) -> list[Tensor]:
    """Features [T, D] of each sentence, decoded one at a time."""
    return [
        parts.tokenizer.denormalise(parts.tokenizer.decode(ids[None]))[0, :frames].cpu()
        for ids in plain_ids(parts, texts, frames)
    ]


class Seconds(NamedTuple):
    clock: float
    processor: float  # of all threads


def take_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    """Medians of each way. Results lie on the CPU when a way returns."""
    found: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            way()
            found[name].append(Seconds(time.perf_counter() - clock, time.process_time() - processor))
    return {name: Seconds(*map(median, zip(*seconds))) for name, seconds in found.items()}


@torch.no_grad()
def product_speed(precision: str, device: torch.device, size: int = 2048) -> float:
    """Operations a second of the largest products a batch has, by the layers the pipeline uses: the best of ten."""
    layer = PackedLinear(
        nn.Linear(1024, 4096, device=device), torch.bfloat16 if precision == "bf16" else torch.float32
    )  # fmt: skip
    x = torch.randn(size, 1024, device=device, dtype=layer.dtype)
    best = float("inf")
    for _ in range(10):
        begun = time.perf_counter()
        layer(x).flatten()[-1].item()  # waits for a GPU
        best = min(best, time.perf_counter() - begun)
    return 2 * size * 1024 * 4096 / best


def operations(config: TransformerConfig, parameters: int, tokens: int) -> float:
    """Of one motion's products: the positions that exist (a sentence, the tokens, END) times the steps it takes."""
    steps = min(STEPS, rounds_of(tokens, STEPS) + 1)
    once = (
        2 * config.text_dim * config.width + 2 * config.local_layers * config.width**2
    )  # weights of the text's layers
    return 2 * (parameters - once) * (tokens + 2) * steps


def tables() -> list[Table]:
    """Text to features, batches of 1 and 32."""
    device = pick_device("auto")
    parts = full_size(device)
    fast = pick_precision("auto", device)
    tokens = token_count(FRAMES)
    pipelines = {AS_THEY_ARE: parts.pipeline(device, "32", packed=False), "float32": parts.pipeline(device, "32")}
    if fast != "32":
        pipelines["bfloat16"] = parts.pipeline(device, fast)
    parameters = sum(parameter.numel() for parameter in parts.transformer.parameters())
    work = operations(parts.transformer.config, parameters, tokens)
    notes = [
        f"{parameters / 1e6:.0f} M parameters, {tokens} tokens, {work / 1e9:.0f} GFLOP of products a motion; "
        f"medians of {' and '.join(f'{rounds} rounds (batch {size})' for size, rounds in ROUNDS.items())}",
        same_ids(parts, pipelines["float32"]),
    ]
    for precision in dict.fromkeys(("32", fast)):
        speed = product_speed(precision, device)
        name = "bfloat16" if precision == "bf16" else "float32"
        alone = f"{speed / 1e9:.0f} GFLOP/s by the clock, {1000 * work / speed:.0f} ms a motion"
        notes.append(f"large products in {name} by themselves: {alone}")
    rows = []
    for size, rounds in ROUNDS.items():
        texts = [f"{SENTENCES[i % len(SENTENCES)]} {i}" for i in range(size)]
        ways: dict[str, Callable[[], object]] = {"plain": partial(plain_motions, parts, texts, FRAMES)}
        for name, pipeline in pipelines.items():
            if name != AS_THEY_ARE or size == 1:
                ways[name] = partial(pipeline.generate_features, texts, [FRAMES] * size)
                if size == 1:
                    ways[name]()  # the first call does what is done once
        seconds = take_turns(ways, rounds)
        plain = seconds["plain"]
        for name, took in seconds.items():
            figures = (1000 * took.clock / size, plain.clock / took.clock)
            figures += (1000 * took.processor / size, plain.processor / took.processor)
            rows.append((f"{size}", name, *(f"{x:.0f}" if i % 2 == 0 else f"{x:.2f}" for i, x in enumerate(figures))))
    columns = ("batch", "way", "ms a motion", "times the plain way", "ms of the processor", "times the plain way")
    if device.type != "cuda":
        rows.append(("1", "on a GPU", *["not measured"] * 4))
    return [Table(f"Text to features, {device.type}", columns, rows, notes)]


def same_ids(parts: Parts, pipeline: MotionPipeline) -> str:
    """Whether both ways find the same ids at temperature 0, in a line."""
    texts = [*SENTENCES]
    _, found = pipeline.generate_features(texts, [FRAMES] * len(texts), temperature=0.0)
    plain = plain_ids(parts, texts, FRAMES, temperature=0.0).cpu()
    same = (torch.stack(found) == plain).float().mean()
    return f"at temperature 0 in float32, {100 * same:.1f} % of the ids are the plain way's"
