"""All of it together: sentences to motions (text encoder, transformer, sampling, tokenizer, joints).

Axes: B sentences, L ids, T frames, J joints.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.normalizer import published_statistics
from dataset.spec import T2M, DatasetSpec, get_spec
from models.guided import Guided
from models.ids import make_rows, mask_id, predicted, token_count, with_predicted
from models.length import LengthModel, load_length_model
from models.packed import pack
from models.replay import Replayed
from models.sampling import sample
from models.text_encoder import build_text_encoder
from models.transformer import MaskedTransformer, load_stage2
from models.vqvae import VQVAE, check_width, load_vqvae
from utils.files import sha256
from utils.motion import features_to_joints, plant_feet
from utils.runtime import autocast, pick_device, pick_precision

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
BATCH = 32  # sentences sampled at once
# How models are usually sampled that say what their text encoder is (LOG.md); the released ones go as published.
GUIDANCE = 2.0  # cfg_scale, of models that were trained without their text now and then
ROUNDS, PUBLISHED_ROUNDS, PUBLISHED_UPPER_ROUNDS = 20, 10, 20
ORDER_NOISE = 3.0  # see `models.sampling.sample`
# Of the upper body: no clip waves while it walks, and legs that walk say "arms that walk" louder than a sentence does.
UPPER_GUIDANCE, LOWER_MASK = 6.0, 0.8
# guidance, rounds, order noise and lower mask, by whether the file says what its text encoder is, and by parts
USUAL = {
    (False, 1): (1.0, PUBLISHED_ROUNDS, 0.0, 0.0),
    (False, 2): (1.0, PUBLISHED_UPPER_ROUNDS, 0.0, 0.0),
    (True, 1): (GUIDANCE, ROUNDS, ORDER_NOISE, 0.0),
    (True, 2): (UPPER_GUIDANCE, ROUNDS, ORDER_NOISE, LOWER_MASK),
}


@dataclass(frozen=True)
class Motion:
    """One generated motion."""

    text: str
    features: np.ndarray  # [T, D], not normalised
    joints: np.ndarray  # [T, J, 3] metres, y up
    ids: np.ndarray  # [L]
    fps: float


@dataclass
class MotionPipeline:
    """The parts, ready for use; `load` puts them together and `generate` runs them."""

    tokenizer: VQVAE
    transformer: MaskedTransformer
    text_encoder: torch.nn.Module
    length_model: LengthModel | None
    spec: DatasetSpec
    device: torch.device
    precision: str
    guidance: float = GUIDANCE  # the usual cfg_scale
    rounds: int = ROUNDS  # the usual number of steps
    order_noise: float = ORDER_NOISE
    lower_mask: float = 0.0  # of the upper body: the usual share of lower ids that is hidden where there is a sentence
    replayed: Replayed | None = None  # the transformer's features as CUDA graphs, on a GPU
    files: tuple[Path, ...] = ()  # the checkpoints that it was loaded from

    @classmethod
    def load(
        cls, vq: str | Path | None = None, trans: str | Path | None = None, device: str = "auto",
        length: str | Path | None = None, precision: str = "32",
        dataname: str | None = None, clip_model: str | None = None, parts: int = 1, order_noise: float | None = None,
    ) -> "MotionPipeline":  # fmt: skip
        """From checkpoint files; without any, the weights that ship with the code.

        `dataname` names the dataset of checkpoints that do not say it, as the released ones (default t2m).
        `clip_model` says where CLIP is (see `models.clip.load_clip`), for those that were trained on its features.
        With `parts` 2 the files are the upper-body model's (see `models.upper_body.load_upper_body`).
        `order_noise` is that of the sampling (`models.sampling.sample`), None the usual one of the model.
        Raises ValueError for files that are missing, broken, or do not belong together.
        """
        where = pick_device(device)
        asked = get_spec(dataname) if dataname else None
        if not vq and not trans:
            length = length or PRETRAINED / "length.pth"
        vq, trans = vq or PRETRAINED / "vq.pth", trans or PRETRAINED / "trans.pth"
        tokenizer = load_vqvae(vq, where)
        check_body(len(tokenizer.config.parts), vq, parts)
        stage2 = load_stage2(trans, where)
        check_body(stage2.model.config.parts, trans, parts)
        check_codebooks(stage2.model, trans, tokenizer, vq)
        spec = get_spec(stage2.dataset) if stage2.dataset else asked or T2M
        if asked and asked != spec:
            raise ValueError(f"{trans} was trained on {spec.name}, not on {asked.name}: leave --dataname out")
        check_width(tokenizer, spec, vq)
        if not tokenizer.has_statistics:
            tokenizer.set_statistics(*published_statistics(spec))
        text_encoder = build_text_encoder(stage2.text, trans, clip_model).to(where).eval()
        length_model = load_length_model(length, where) if length else None
        guidance, rounds, usual_noise, lower_mask = USUAL[bool(stage2.text), parts]
        order_noise = usual_noise if order_noise is None else order_noise
        precision = pick_precision(precision, where)
        transformer, text_encoder = pack(stage2.model, precision), pack(text_encoder, precision)
        replayed = Replayed(transformer.features) if where.type == "cuda" else None
        files = tuple(Path(path) for path in (vq, trans, length) if path)
        return cls(
            tokenizer, transformer, text_encoder, length_model, spec, where, precision, guidance, rounds, order_noise,
            lower_mask, replayed, files,
        )  # fmt: skip

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What a motion's file says of the pipeline that made it: checkpoints by their hash, arithmetic, program."""
        checkpoints = {path.name: sha256(path) for path in self.files}
        return {
            "checkpoints": checkpoints,
            "precision": self.precision,
            "device": self.device.type,
            "torch": torch.__version__,
            "usual": {"cfg_scale": self.guidance, "steps": self.rounds, "order_noise": self.order_noise},
        }

    @property
    def longest(self) -> int:
        """Frames of the longest motion a row holds."""
        return (self.transformer.config.row_length - 1) * self.tokenizer.config.frames_per_token

    @property
    def shortest(self) -> int:
        """Frames of the shortest motion that is generated."""
        return self.tokenizer.config.frames_per_token

    def check_lengths(self, lengths: list[int]) -> None:
        """ValueError, with the allowed range, for a length in frames that cannot be generated."""
        for length in lengths:
            if not self.shortest <= length <= self.longest:
                raise ValueError(f"a length must be from {self.shortest} to {self.longest} frames, not {length}")

    @torch.no_grad()
    def predict_lengths(self, texts: list[str]) -> list[int]:
        """Frames of each sentence's motion. Raises ValueError where there is no length model."""
        if self.length_model is None:
            raise ValueError("there is no length model beside these checkpoints: give --length")
        unit = self.tokenizer.config.frames_per_token
        least = token_count(self.spec.min_frames, unit)
        return (self.length_model.predict(texts, least) * unit).clamp(max=self.longest).tolist()

    def fill_lengths(self, texts: list[str], lengths: list[int | None]) -> list[int]:
        """Lengths in frames with each None predicted. Raises ValueError where there is one and no length model."""
        if None not in lengths:
            return list(lengths)
        return [guess if length is None else length for length, guess in zip(lengths, self.predict_lengths(texts))]

    def check_transitions(self, tokens: int) -> None:
        """ValueError, with the allowed range, for transitions of so many tokens that no context fits beside them."""
        most = self.transformer.config.row_length - 3
        if not 0 <= tokens <= most:
            raise ValueError(f"--num-transition-token must be from 0 to {most}, not {tokens}")

    def batches(self, tokens: Sequence[int], texts: Sequence[str]) -> list[list[int]]:
        """Places of rows of so many tokens that are sampled at once, at most BATCH, those of like sentences together.

        On a CPU, where padding takes as long as motion does, the longest is an eighth longer than the shortest at most.
        """
        found: list[list[int]] = []
        for i in sorted(range(len(tokens)), key=lambda i: (tokens[i], texts[i])):
            longer = found and self.device.type == "cpu" and tokens[i] > tokens[found[-1][0]] * 9 / 8
            if not found or longer or len(found[-1]) == BATCH:
                found.append([])
            found[-1].append(i)
        return found

    @torch.no_grad()
    def generate(
        self, texts: list[str], lengths: list[int] | None = None, seed: int = 0, temperature: float = 1.0,
        cfg_scale: float | None = 1.0, steps: int | None = None, feet: bool = True,
    ) -> list[Motion]:  # fmt: skip
        """A motion for each sentence, as many frames long as `lengths` says or the sentence suggests.

        A motion depends on its sentence, its length and the seed alone, not on what else is asked for at once; the same
        sentence given again gets another motion. cfg_scale above 1 follows the sentence more closely than the model
        by itself would. steps: rounds of decoding. None takes the model's usual one, of either. `feet` takes the
        sliding off feet that stand (`utils.motion.plant_feet`). Raises ValueError for lengths that cannot be generated,
        and for a pipeline of the upper body.
        """
        if lengths is None:
            lengths = self.predict_lengths(texts)
        motions = []
        found = self.generate_features(texts, lengths, seed, temperature, cfg_scale, steps)
        for text, features, ids in zip(texts, *found):
            features = plant_feet(features, self.spec) if feet else features
            joints = features_to_joints(features, self.spec).numpy() * self.spec.metres_per_unit
            motions.append(Motion(text, features.numpy(), joints, ids.numpy(), self.spec.fps))
        return motions

    @torch.no_grad()
    def generate_features(
        self, texts: list[str], lengths: list[int], seed: int = 0, temperature: float = 1.0,
        cfg_scale: float | None = None, steps: int | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """What `generate` makes motions of: features [T, D] as decoded, not normalised, and ids [L] of each sentence.

        Rows of like length share a batch. Raises ValueError for lengths that cannot be generated.
        """
        if len(lengths) != len(texts):
            raise ValueError(f"{len(texts)} sentences need as many lengths, not {len(lengths)}")
        check_body(self.transformer.config.parts, "this pipeline's transformer")
        self.check_lengths(lengths)
        generators = row_generators(texts, seed)
        features, ids = ([torch.empty(0)] * len(texts) for _ in range(2))
        tokens = [token_count(length, self.tokenizer.config.frames_per_token) for length in lengths]
        for rows in self.batches(tokens, texts):
            frames = torch.tensor([lengths[i] for i in rows], device=self.device)
            chosen = [texts[i] for i in rows]
            drawn = self.sample_ids(chosen, frames, [generators[i] for i in rows], temperature, cfg_scale, steps)
            decoded = self.tokenizer.denormalise(self.tokenizer.decode(drawn, frames)).cpu()
            for i, row, row_ids in zip(rows, decoded, drawn.cpu()):
                features[i] = row[: lengths[i]].clone()
                ids[i] = row_ids[: tokens[i]].clone()
        return features, ids

    def sample_ids(
        self, texts: list[str], frames: Tensor, generators: list[torch.Generator], temperature: float,
        cfg_scale: float | None, steps: int | None,
    ) -> Tensor:  # fmt: skip
        """Ids [B, L] of one batch; past a row's end they are not motion."""
        lengths = token_count(frames, self.tokenizer.config.frames_per_token)
        masked = torch.full((len(texts), int(lengths.max())), mask_id(self.transformer.config.codes))
        return self.fill_ids(masked.to(self.device), lengths, [texts], generators, temperature, cfg_scale, steps)

    @torch.no_grad()
    def fill_ids(
        self, given: Tensor, lengths: Tensor, conditions: list[list[str]], generators: list[torch.Generator],
        temperature: float, cfg_scale: float | None, steps: int | None,
    ) -> Tensor:  # fmt: skip
        """Ids [B, L] of given ids [B, L], every MASK of lengths [B] (tokens) filled in; past a row's end no motion.

        Of ids [B, L, parts] only those that are predicted are filled in, the upper body's; the others may be MASK.

        `conditions` holds a sentence for each row, once or several times: rows with several sentences follow all of
        them alike (the mean of their logits). cfg_scale, and steps, the rounds of the longest row there is: None takes
        the model's usual one.
        """
        cfg_scale = self.guidance if cfg_scale is None else cfg_scale
        codes, longest = self.transformer.config.codes, given.shape[1]
        rows = make_rows(given, lengths, codes, longest + 1)
        guides = [*conditions, [""] * len(rows)] if cfg_scale != 1.0 else conditions
        distinct = list(dict.fromkeys(text for texts in guides for text in texts))
        place = {text: i for i, text in enumerate(distinct)}
        sentences = torch.tensor([[place[text] for text in texts] for texts in guides], device=self.device)
        scale = cfg_scale if cfg_scale != 1.0 else None
        with autocast(self.device, self.precision):
            guided = Guided(self.transformer, rows, self.text_encoder(distinct), sentences, scale, self.replayed)
            filled = sample(
                guided, predicted(rows), lengths, codes, steps or self.rounds, temperature, generators, at_picks=True,
                order_noise=self.order_noise,
            )  # fmt: skip
        return with_predicted(rows, filled)[:, :longest]


def check_body(parts: int, path: str | Path, wanted: int = 1) -> None:
    """ValueError for a model, from the file `path`, of other parts of the body than are wanted."""
    if parts < wanted:
        raise ValueError(
            f"{path} is a whole-body model: the upper body alone needs a tokenizer and a transformer that were trained "
            "with --sep-uplow"
        )
    if parts > wanted:
        raise ValueError(
            f"{path} is an upper-body model, for editing motion that is there: text to motion needs the tokenizer and "
            "the transformer of the whole body"
        )


def check_codebooks(model: MaskedTransformer, trans: str | Path, tokenizer: VQVAE, vq: str | Path) -> None:
    """ValueError where a transformer was trained on another tokenizer's codes."""
    theirs, ours = model.codebooks, tokenizer.codebooks()
    if theirs.shape != ours.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (theirs.shape, ours.shape)]
        raise ValueError(f"{trans} was trained on codebooks of {sizes[0]}, {vq} has {sizes[1]} (parts x codes x width)")
    if not torch.allclose(theirs.cpu(), ours.cpu(), atol=1e-2):  # either may have been through half precision
        raise ValueError(f"{trans} was trained on another tokenizer than {vq}: their codebooks differ")


def row_generators(texts: list[str], seed: int) -> list[torch.Generator]:
    """A generator for each sentence, from the seed, the sentence, and how often it came before."""
    seen: Counter[str] = Counter()
    generators = []
    for text in texts:
        generators.append(generator_of(f"{seed}|{seen[text]}|{text}"))
        seen[text] += 1
    return generators


def generator_of(key: str) -> torch.Generator:
    """A generator whose numbers depend on the key alone."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
