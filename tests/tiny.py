"""Small things to run the scripts on: a dataset of made clips, untrained models, and a command line."""

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dataset.humanml import Clip
from dataset.normalizer import upper_statistics
from dataset.prepare.layout import features_path, text_line, text_path, write_splits, write_statistics
from dataset.spec import BANDAI, DatasetSpec
from models.encdec import ConvConfig
from models.evaluator import Evaluator, EvaluatorConfig, WordVectors, evaluator_checkpoint
from models.length import LengthConfig, LengthModel, length_checkpoint
from models.text_encoder import LearnedTextConfig, LearnedTextEncoder, build_vocabulary
from models.transformer import MaskedTransformer, TransformerConfig, transformer_checkpoint
from models.vqvae import VQVAE, VQConfig, vqvae_checkpoint
from tests.motions import walking
from utils.checkpoint import save_checkpoint
from utils.files import write_text, write_whole
from utils.motion import joints_to_features

# Captions of a kind of clip, and how it moves: speed in m/s, turn in radians, swing.
KINDS = {
    "walk": (("a person walks forward", "someone strolls ahead slowly"), 1.0, 0.0, 0.8),
    "walk-turn-left": (("a person walks and turns left", "someone strolls to the left"), 1.0, 1.4, 0.8),
    "run": (("a person runs forward", "someone is running ahead quickly"), 2.5, 0.0, 1.3),
    "stand": (("a person stands still", "someone is standing and waiting"), 0.0, 0.0, 0.0),
}
CAPTIONS = [caption for captions, *_ in KINDS.values() for caption in captions]


def make_dataset(folder: Path, spec: DatasetSpec, train: int = 6, val: int = 3, test: int = 3) -> Path:
    """A folder of HumanML3D's layout with so many clips, of 40 to 80 frames, in each split."""
    (folder / "new_joint_vecs").mkdir(parents=True)
    names = []
    for i in range(train + val + test):
        kind = list(KINDS)[i % 4]
        captions, speed, turn, swing = KINDS[kind]
        name = f"dataset-1_{kind}_normal_{i:03d}"
        more = 1 + 0.03 * i  # who stands stands still: feet on the floor, or the contacts would be alike in all frames
        joints = walking(spec, 41 + (7 * i) % 40, more * speed, turn, more * swing)
        features = joints_to_features(joints, spec)
        write_whole(features_path(folder, name), lambda path, x=features: np.save(path, x))
        lines = (text_line(caption, " ".join(f"{word}/OTHER" for word in caption.split())) for caption in captions)
        write_text(text_path(folder, name), "\n".join(lines) + "\n")
        names.append(name)
    splits = {"train": names[:train], "val": names[train : train + val], "test": names[train + val :]}
    write_splits(folder, splits)
    write_statistics(folder, names[:train], spec)
    return folder


def tiny_vq(spec: DatasetSpec = BANDAI, seed: int = 0, **sizes) -> VQVAE:
    """A tokenizer with random weights that makes lively motion of random ids."""
    torch.manual_seed(seed)
    conv = ConvConfig(width=16, depth=1)
    model = VQVAE(VQConfig(**{"dim": spec.dim, "codes": 16, "code_dim": 4, "conv": conv} | sizes))
    with torch.no_grad():
        for quantizer in model.quantizers():
            quantizer.codebook.normal_()
        for name, decoder in model.named_children():
            if name.startswith("decoder"):
                decoder.model[-1].weight.mul_(4)
    features = torch.from_numpy(joints_to_features(walking(spec), spec))
    model.set_statistics(features.mean(dim=0), features.std(dim=0) + 0.01)
    if len(model.config.parts) > 1:
        model.set_statistics(None, None, *upper_statistics([Clip("walk", features.numpy(), ())], spec))
    return model.eval()


def tiny_upper_vq(spec: DatasetSpec = BANDAI, seed: int = 0, **sizes) -> VQVAE:
    """The same with a tokenizer each for the upper and the lower body, whose codes encoding does pick."""
    model = tiny_vq(spec, seed, lower_features=spec.lower_features, upper_heights=spec.upper_heights, **sizes)
    features = torch.from_numpy(joints_to_features(walking(spec, 4 * model.config.codes + 1, 1.5, 2.0), spec))
    with torch.no_grad():
        for part in model.config.parts:  # outputs that lie well apart
            getattr(model, f"encoder_{part}").model[-1].weight.mul_(20)
        for z, quantizer in zip(model.latents(model.normalise(features)[None])[0], model.quantizers()):
            quantizer.codebook.copy_(z[0])
    return model


def tiny_text_encoder(seed: int = 0, width: int = 16) -> LearnedTextEncoder:
    torch.manual_seed(seed)
    return LearnedTextEncoder(LearnedTextConfig(width, layers=1, heads=2), build_vocabulary(CAPTIONS)).eval()


def tiny_transformer(tokenizer: VQVAE, seed: int = 0, **sizes) -> MaskedTransformer:
    """A transformer for rows of 20 ids whose random weights are large enough for text and ids to matter."""
    torch.manual_seed(seed)
    codes, code_dim = tokenizer.config.codes, tokenizer.config.code_dim
    config = TransformerConfig(
        **{
            "codes": codes, "code_dim": code_dim, "text_dim": 16, "width": 32, "heads": 2, "layers": 2,
            "local_layers": 1, "ff_rate": 2, "row_length": 20, "parts": len(tokenizer.config.parts),
        } | sizes
    )  # fmt: skip
    model = MaskedTransformer(config, tokenizer.codebooks())
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.25)
    return model.eval()


def tiny_length_model(seed: int = 0, longest: int = 49) -> LengthModel:
    encoder = tiny_text_encoder(seed)
    return LengthModel(LengthConfig(longest, text_dim=16), encoder).eval()


def tiny_judge(spec: DatasetSpec = BANDAI, seed: int = 0, embedding: int = 8) -> Evaluator:
    """An untrained judge that knows the captions' words; FID takes more motions than its embedding is wide."""
    torch.manual_seed(seed)
    model = Evaluator(EvaluatorConfig(spec.dim, 12, 12, 6, 15, 12, 12, embedding))
    features = torch.from_numpy(joints_to_features(walking(spec), spec))
    model.set_statistics(features.mean(dim=0), features.std(dim=0) + 0.1)
    words = ("unk", "sos", "eos", *sorted({word for caption in CAPTIONS for word in caption.split()}))
    model.words = WordVectors(words, torch.randn(len(words), 6))
    return model.eval()


def make_judge(path: Path, spec: DatasetSpec = BANDAI, **sizes) -> Path:
    save_checkpoint(path, evaluator_checkpoint(tiny_judge(spec, **sizes), spec.name))
    return path


class Checkpoints(NamedTuple):
    vq: Path
    trans: Path
    length: Path

    @property
    def flags(self) -> list[str]:
        return ["--resume-pth", str(self.vq), "--resume-trans", str(self.trans), "--resume-length", str(self.length)]


def make_checkpoints(folder: Path, spec: DatasetSpec = BANDAI, seed: int = 0, make_vq=tiny_vq) -> Checkpoints:
    """The three files that generation needs, of untrained models that belong together."""
    vq = make_vq(spec, seed)
    transformer = tiny_transformer(vq, seed)
    found = Checkpoints(*(folder / f"{name}.pth" for name in Checkpoints._fields))
    save_checkpoint(found.vq, vqvae_checkpoint(vq, spec.name))
    save_checkpoint(found.trans, transformer_checkpoint(transformer, tiny_text_encoder(seed).checkpoint(), spec.name))
    save_checkpoint(found.length, length_checkpoint(tiny_length_model(seed), spec.name))
    return found


def run_script(script: ModuleType, *flags) -> None:
    """A script's `main` with these flags, in this process: starting one and importing torch takes seconds."""
    argv, sys.argv = sys.argv, [script.__name__, *map(str, flags)]
    try:
        script.main()
    finally:
        sys.argv = argv


def refusal(capsys, script: ModuleType, *flags) -> str:
    """What a script says of flags it must refuse: status 2, one line on stderr that is an error, nothing on stdout."""
    capsys.readouterr()
    with warnings.catch_warnings(record=True) as warned, pytest.raises(SystemExit) as caught:
        warnings.simplefilter("always", UserWarning)
        run_script(script, *flags)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert [str(warning.message) for warning in warned] == [], "a warning is printed on stderr too"
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and printed.err.endswith("\n")
    return printed.err


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
