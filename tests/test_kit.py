"""KIT-ML from the command line, each script in turn: 251 features, 21 joints, 12.5 frames a second, millimetres.

Everything runs in a working folder with a dozen made clips where KIT-ML's belong.
"""

import base64
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import generate
import models.pipeline
import train_length
import train_t2m_trans
import train_vq
from dataset.humanml import read_split
from dataset.normalizer import read_statistics
from dataset.spec import KIT
from models.length import load_length_model
from models.transformer import load_stage2
from models.vqvae import TRAINING_STATE, load_vqvae
from tests.motions import walking
from tests.tiny import make_dataset, refusal, run_script, tiny_text_encoder, tiny_transformer, tiny_vq
from utils.checkpoint import load_checkpoint

FOLDER = Path(KIT.folder)
META = Path("checkpoints") / KIT.published_statistics
STEPS = ["--dataname", "kit", "--total-iter", "2", "--print-iter", "1", "--eval-iter", "2", "--device", "cpu"]
VQ = [*STEPS, "--batch-size", "4", "--width", "32", "--depth", "1", "--nb-code", "16", "--code-dim", "8"]
TRANS = [
    *STEPS, "--batch-size", "4", "--embed-dim-gpt", "32", "--clip-dim", "16", "--n-head-gpt", "2", "--num-layers", "2",
    "--text-encoder", "learned", "--text-layers", "1",
]  # fmt: skip
LENGTH = [*STEPS, "--batch-size", "4", "--width", "16"]
TRAINED = [
    "--resume-pth", "output/vq/vq/net_last.pth", "--resume-trans", "output/trans/net_last.pth",
    "--resume-length", "output/length/net_last.pth",
]  # fmt: skip
WALK = "a person walks forward"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, and no pictures."""
    monkeypatch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working folder with the dataset and a run of each script."""
    place, before = tmp_path_factory.mktemp("kit"), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))
        make_dataset(FOLDER, KIT)
        run_script(train_vq, *VQ)
        run_script(train_t2m_trans, *TRANS)
        run_script(train_length, *LENGTH)
    assert Path.cwd() == before
    return place


def make(capsys, *flags):
    """Joints [T, J, 3] of the array, and the motion in the page, that generate.py writes for one sentence."""
    capsys.readouterr()
    run_script(generate, *flags, "--device", "cpu")
    files = {os.path.splitext(line)[1]: line for line in capsys.readouterr().out.splitlines()}
    (shown,) = re.findall(r'\{"fps":.*\}', Path(files[".html"]).read_text(encoding="utf-8"))
    return np.load(files[".npy"]), json.loads(shown)


def is_a_person(joints):
    """Joints [T, 21, 3] in metres: as tall as a person, upright, bones as long as a person's."""
    height = joints[..., 1].max(axis=1) - joints[..., 1].min(axis=1)
    thighs = np.linalg.norm(joints[:, 12] - joints[:, 11], axis=-1)
    pelvis, head = joints[:, 0, 1], joints[:, KIT.joint_names.index("head"), 1]
    return all(
        low < np.median(value) < high
        for value, low, high in ((height, 1.2, 2.0), (thighs, 0.25, 0.55), (pelvis, 0.7, 1.2), (head, 1.2, 2.0))
    )


def test_what_a_person_is():
    """The control: a made body is one in metres, and not in KIT-ML's own millimetres."""
    assert is_a_person(walking(KIT) * KIT.metres_per_unit) and not is_a_person(walking(KIT))


# --- Training


def test_the_clips_are_kits(trained):
    clips = read_split(KIT, trained / FOLDER, "train")
    assert all(clip.motion.shape[1] == 251 for clip in clips)
    assert 500 < clips[0].motion[:, 3].mean() < 1200, "the root's height in millimetres"


def test_shorter_clips_are_used_than_of_humanml3d(tmp_path):
    folder = make_dataset(tmp_path, KIT)
    first, second, *others = (clip.name for clip in read_split(KIT, folder, "train"))
    for name, frames in ((first, 24), (second, 23)):
        path = folder / f"new_joint_vecs/{name}.npy"
        np.save(path, np.load(path)[:frames])
    after = {clip.name: len(clip.motion) for clip in read_split(KIT, folder, "train")}
    assert after.keys() == {first, *others} and after[first] == 24


def test_what_the_runs_wrote(trained):
    tokenizer = load_vqvae(trained / TRAINED[1])
    transformer, text, dataset = load_stage2(trained / TRAINED[3])
    assert tokenizer.config.dim == 251 and dataset == "kit" and text["kind"] == "learned"
    assert torch.equal(transformer.codebooks, tokenizer.codebooks())
    assert load_checkpoint(trained / TRAINED[1])["dataset"] == "kit"
    assert 6 <= int(load_length_model(trained / TRAINED[5]).predict([WALK], 6)) <= 49
    log = (trained / "output/vq/vq/run.log").read_text()
    (error,) = map(float, re.findall(r"val/mpjpe_mm ([0-9.e+]+)", log))
    assert 5 < error < 500, "millimetres between a made walk and its mean pose, whatever unit the data have"


def test_root_and_contacts_weigh_more(trained):
    """Where no published statistics are on the disk, the folder's with the published factor, 5 x 5."""
    mean, std = read_statistics(trained / FOLDER, KIT)
    tokenizer = load_vqvae(trained / TRAINED[1])
    np.testing.assert_allclose(tokenizer.mean, mean)
    factor = np.ones(251)
    factor[[0, 1, 2, 3, -4, -3, -2, -1]] = 25
    np.testing.assert_allclose(np.where(std > 0, std, 1) / tokenizer.std.numpy(), factor, rtol=1e-5)


def test_published_statistics_are_taken_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_dataset(FOLDER, KIT)
    mean, std = write_published_statistics()
    run_script(train_vq, *VQ)
    tokenizer = load_vqvae("output/vq/vq/net_last.pth")
    np.testing.assert_array_equal(tokenizer.mean, mean)
    np.testing.assert_array_equal(tokenizer.std, std)


def write_published_statistics():
    """What download_extractor.sh brings of KIT-ML: here those of a made walk."""
    tokenizer = tiny_vq(KIT)
    META.mkdir(parents=True)
    for name in ("mean", "std"):
        np.save(META / f"{name}.npy", getattr(tokenizer, name).numpy())
    return tokenizer.mean.numpy(), tokenizer.std.numpy()


# --- Generation


@pytest.mark.parametrize("length", [25, 156])
def test_a_motion_and_its_page(trained, monkeypatch, capsys, length):
    monkeypatch.chdir(trained)
    joints, shown = make(capsys, *TRAINED, "--text", WALK, "--length", length, "--out-dir", f"output/{length}")
    assert joints.shape == (length, 21, 3) and is_a_person(joints)
    assert shown["frames"] / shown["fps"] == pytest.approx(length / 12.5), "seconds"
    assert shown["parents"] == list(KIT.parents) and shown["head"] == KIT.joint_names.index("head")
    drawn = np.frombuffer(base64.b64decode(shown["millimetres"]), "<i4").reshape(length, 21, 3)
    np.testing.assert_allclose(drawn, 1000 * joints, atol=0.51)


def test_the_length_is_predicted(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    joints, shown = make(capsys, *TRAINED, "--text", WALK, "--dataname", "kit", "--out-dir", "output/predicted")
    assert KIT.min_frames <= len(joints) == shown["frames"] <= 196


# --- Checkpoints laid out as the released ones, which say neither their dataset nor their statistics


def write_released():
    """A tokenizer and a transformer for 251 features (spec/model.md 5), and generate.py's flags for them."""
    tokenizer = tiny_vq(KIT)
    extra = ("mean", "std", *TRAINING_STATE)
    stage_1 = {f"vqvae.{name}": value for name, value in tokenizer.state_dict().items() if name not in extra}
    transformer = tiny_transformer(tokenizer, heads=4, layers=3)
    stage_2 = {f"trans_base.vqvae.{name}": value for name, value in stage_1.items()}
    stage_2["trans_base.pos_embed.embed"] = torch.zeros(21, 1, 32)
    for name, value in transformer.state_dict().items():
        first, number, rest = (*name.split(".", 2), "", "")[:3]
        if first == "blocks" and int(number) >= 2:  # three blocks less a local one come first
            stage_2[f"trans_head.blocks.{int(number) - 2}.{rest}"] = value
        elif first != "codebooks":
            stage_2[f"trans_{'head' if first in ('ln_f', 'head') else 'base'}.{name}"] = value
    torch.save({"net": stage_1}, "vq.pth")
    torch.save({"trans": stage_2}, "trans.pth")
    return ["--resume-pth", "vq.pth", "--resume-trans", "trans.pth", "--text", WALK, "--length", "25"]


def test_checkpoints_in_the_released_layout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models.pipeline, "build_text_encoder", lambda *_: tiny_text_encoder())  # in CLIP's place
    flags = write_released()
    assert "give --dataname" in refusal(capsys, generate, *flags)
    assert f"{META}: bash dataset/prepare/download_extractor.sh" in refusal(
        capsys, generate, *flags, "--dataname", "kit"
    )
    write_published_statistics()
    joints, shown = make(capsys, *flags, "--dataname", "kit")
    assert joints.shape == (25, 21, 3) and np.abs(joints).max() < 20 and shown["fps"] == 12.5
