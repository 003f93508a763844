"""The training scripts end to end, a few steps each on a dozen made clips."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_length
import train_t2m_trans
import train_vq
from dataset.humanml import read_split
from dataset.normalizer import training_statistics, upper_statistics
from dataset.spec import BANDAI, KIT, T2M
from models.length import load_length_model
from models.pipeline import MotionPipeline
from models.quantize import QUANTIZERS
from models.text_encoder import build_text_encoder
from models.transformer import load_stage2
from models.upper_body import UpperEdit, edit_upper, load_upper_body
from models.vqvae import load_vqvae
from tests.conftest import ROOT
from tests.tiny import contents, make_checkpoints, make_dataset, refusal, run_script
from utils.checkpoint import load_checkpoint

STEPS = ["--total-iter", "2", "--print-iter", "1", "--eval-iter", "2", "--warm-up-iter", "1", "--device", "cpu"]
VQ = ["--batch-size", "4", "--window-size", "32", "--width", "32", "--depth", "1", "--nb-code", "16", "--code-dim", "8"]
VQ = [*STEPS, *VQ]
TRANS = [
    *STEPS, "--batch-size", "4", "--embed-dim-gpt", "32", "--clip-dim", "16", "--n-head-gpt", "2", "--num-layers", "2",
    "--num-local-layer", "1", "--ff-rate", "2", "--text-encoder", "learned", "--text-layers", "1",
]  # fmt: skip
LENGTH = [*STEPS, "--batch-size", "4", "--width", "16"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, and no pictures: the runs from the shell draw them."""
    monkeypatch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "bandai", BANDAI)


@pytest.fixture(scope="module")
def kit_data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "kit", KIT)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("tiny"))


def shell(script, *flags):
    """A script in a process of its own; nothing of it is a warning or a traceback."""
    done = subprocess.run(
        [sys.executable, script, *map(str, flags)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


PRINTED = {}  # by `out`: what each run printed


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    """OUT_DIR of the three scripts, run from the shell."""
    folder = tmp_path_factory.mktemp("out")
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", folder]
    more = ["--total-iter", "4", "--loss-joint", "0.5", "--loss-step", "0.5", "--exp-name", "a"]
    with ThreadPoolExecutor() as pool:
        length = pool.submit(shell, "train_length.py", *given, *LENGTH, "--exp-name", "c")
        PRINTED["vq/a"] = shell("train_vq.py", *given, *VQ, *more)
        check_run(folder / "vq/a", [*VQ[2:], *more])
        PRINTED["b"] = shell("train_t2m_trans.py", *given, *TRANS, "--vq-name", "a", "--exp-name", "b")
        PRINTED["c"] = length.result()
    return folder


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def check_run(folder, flags):
    """Exactly the documented files, and the flags in config.json."""
    names = sorted(path.name for path in folder.iterdir())
    written = [name for name in names if name.startswith("events.out.tfevents.")]
    assert len(written) == 1
    state = ["state.pth"] if "--window-size" in flags or "--ff-rate" in flags else []  # of the two stages
    assert len(names) == 5 + len(state) and sorted(set(names) - set(written)) == [
        "config.json",
        "net_best.pth",
        "net_last.pth",
        "run.log",
        *state,
    ]
    config = json.loads((folder / "config.json").read_text())
    given = dict(zip(flags[::2], flags[1::2]))
    assert all(str(config[flag[2:].replace("-", "_")]) == value for flag, value in given.items())


def weights(path):
    """All tensors of a checkpoint by name."""
    found = {}

    def walk(prefix, value):
        if isinstance(value, torch.Tensor):
            found[prefix] = value
        elif isinstance(value, dict):
            for name, part in value.items():
                walk(f"{prefix}/{name}", part)

    walk("", load_checkpoint(path))
    return found


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- What a run writes


def test_stage_1(out, data):
    mean, std = map(torch.from_numpy, training_statistics(data, BANDAI))
    for name in ("net_last", "net_best"):
        model = load_vqvae(out / f"vq/a/{name}.pth")
        assert (model.config.dim, model.config.codes, model.config.code_dim) == (263, 16, 8)
        assert (model.config.conv.width, model.config.conv.depth) == (32, 1)
        assert torch.equal(model.mean, mean) and torch.equal(model.std, std)
        assert load_checkpoint(out / f"vq/a/{name}.pth")["dataset"] == "bandai"
        clip = read_split(BANDAI, data, "val")[0]
        motion = model.normalise(torch.from_numpy(clip.motion))[None]
        assert torch.isfinite(model.decode(model.encode(motion))).all()


def test_stage_1_events(out):
    found = events(out / "vq/a")
    scalars = set(found.Tags()["scalars"])
    losses = {f"train/{name}" for name in ("total", "features", "positions", "commit", "joints", "steps")}
    assert losses | {"train/perplexity", "train/codes_used", "train/lr"} <= scalars
    assert {"val/mpjpe_mm", "val/codes_used", "val/perplexity"} <= scalars
    assert [event.step for event in found.Scalars("train/total")] == [1, 2, 3, 4]
    assert [event.step for event in found.Scalars("val/mpjpe_mm")] == [2, 4]
    for event in found.Scalars("val/mpjpe_mm"):
        assert 1 < event.value < 5000, "millimetres"
    for where in ("train", "val"):
        assert all(1 <= event.value <= 16.001 for event in found.Scalars(f"{where}/perplexity"))
        assert all(1 / 16 <= event.value <= 1 for event in found.Scalars(f"{where}/codes_used"))
    value = {name: [event.value for event in found.Scalars(f"train/{name}")] for name in ("total", "commit")}
    weighted = {"features": 1.0, "positions": 0.5, "commit": 0.02, "joints": 0.5, "steps": 0.5}
    for step, total in enumerate(value["total"]):
        parts = (weight * found.Scalars(f"train/{name}")[step].value for name, weight in weighted.items())
        assert total == pytest.approx(sum(parts), rel=1e-3)
    assert set(found.Tags()["images"]) == {"val/reconstruction", "val/reconstruction_moving"}
    for tag, kind in (("val/reconstruction", b"\x89PNG"), ("val/reconstruction_moving", b"GIF89a")):
        images = found.Images(tag)
        assert [image.step for image in images] == [2, 4]
        assert all(image.width > 300 and image.encoded_image_string.startswith(kind) for image in images)


def test_stage_2(out, data):
    check_run(out / "b", [*TRANS, "--exp-name", "b", "--vq-name", "a"])
    codebook = load_vqvae(out / "vq/a/net_last.pth").quantizer.codebook
    for name in ("net_last", "net_best"):
        path = out / f"b/{name}.pth"
        model, text, dataset = load_stage2(path)
        encoder = build_text_encoder(text, str(path))
        assert dataset == "bandai" and torch.equal(model.codebooks[0], codebook)
        assert (model.config.width, model.config.layers, model.config.row_length) == (32, 2, 50)
        assert encoder.config.text_dim == 16 and "<walks>" in encoder.vocabulary
    found = events(out / "b")
    assert {"train/loss", "train/masked_right", "train/lr", "val/loss", "val/loss_without_text"} == {
        tag for tag in found.Tags()["scalars"] if not tag.endswith("per_second")
    }
    assert found.Scalars("val/loss")[-1].value == pytest.approx(torch.tensor(16.0).log().item(), abs=1.0)
    assert set(found.Tags()["images"]) == {"val/sample_0", "val/sample_1"}
    assert found.Images("val/sample_0")[0].encoded_image_string.startswith(b"GIF89a")


def test_flags_are_in_the_events(out):
    """As text, and for TensorBoard's table of hyper-parameters."""
    for run, flag in (("vq/a", "| loss_joint | 0.5 |"), ("b", "| vq_name | a |")):
        found = events(out / run)
        assert flag in found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
        assert "_hparams_/session_start_info" in found.summary_metadata


def test_tokens_are_kept_beside_the_tokenizer(out, data):
    """Stage 2 leaves each clip's ids with the checkpoint that made them."""
    model = load_vqvae(out / "vq/a/net_last.pth")
    clips = [clip for split in ("train", "val") for clip in read_split(BANDAI, data, split)]
    kept = {path.stem: np.load(path) for path in (out / "vq/a/codebook").glob("*.npy")}
    assert kept.keys() == {clip.name for clip in clips}
    for clip in clips:
        whole = torch.from_numpy(clip.motion[: len(clip.motion) // 4 * 4])
        assert kept[clip.name].tolist() == model.encode(model.normalise(whole)[None])[0].tolist()


def test_length(out):
    check_run(out / "c", [*LENGTH, "--exp-name", "c"])
    for name in ("net_last", "net_best"):
        model = load_length_model(out / f"c/{name}.pth")
        assert model.config.longest == 49 and model.config.text_dim == 16
        assert 10 <= int(model.predict(["a person walks"], 10)) <= 49
    tags = set(events(out / "c").Tags()["scalars"])
    assert {"train/loss", "val/error_tokens", "val/error_of_the_median"} <= tags


def test_what_is_said(out):
    """The lines on the terminal are those of run.log."""
    for run, printed in PRINTED.items():
        lines = (out / run / "run.log").read_text().splitlines()
        assert [line.split(" ", 2)[2] for line in lines] == printed.splitlines()
        assert sum("step 2: " in line for line in lines) == 2 and "nan" not in printed
    assert "6 clips to train on, 3 to validate" in PRINTED["vq/a"]


def test_the_three_go_together(out):
    pipeline = MotionPipeline.load(out / "vq/a/net_best.pth", out / "b/net_best.pth", "cpu", out / "c/net_best.pth")
    (motion,) = pipeline.generate(["a person walks forward"])
    assert BANDAI.min_frames <= len(motion.joints) <= 196 and pipeline.spec == BANDAI


# --- Ways to train


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_quantizers(data, tmp_path, quantizer):
    """Each learns its codes; 21 steps pass the first replacement of unused ones."""
    flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *VQ, "--quantizer", quantizer]
    run_script(train_vq, *flags, "--total-iter", "21", "--print-iter", "21", "--eval-iter", "50")
    model = load_vqvae(tmp_path / "vq/vq/net_last.pth")
    assert model.config.quantizer == quantizer and model.quantizer.updates == 21
    assert isinstance(model.quantizer.codebook, torch.nn.Parameter) == (quantizer in ("reset", "orig"))
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "vq/vq/net_last.pth").values())
    assert 0.1 < events(tmp_path / "vq/vq").Scalars("train/total")[0].value < 100


@pytest.mark.parametrize("flags", ["--vq-norm LN", "--vq-norm GN --vq-act gelu", "--vq-norm BN --down-t 1"])
def test_norms(data, tmp_path, flags):
    given = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *VQ]
    run_script(train_vq, *given, *flags.split(), "--total-iter", "1", "--eval-iter", "1")
    conv = load_vqvae(tmp_path / "vq/vq/net_last.pth").config.conv
    assert conv.norm == flags.split()[1] and conv.down_t == (1 if "--down-t" in flags else 2)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_losses_and_schedules(data, tmp_path, loss):
    given = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *VQ, "--recons-loss", loss]
    run_script(train_vq, *given, "--total-iter", "3", "--lr", "1e-3", "--lr-scheduler", "2", "3", "--gamma", "0.1")
    rates = [event.value for event in events(tmp_path / "vq/vq").Scalars("train/lr")]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-5])


def test_the_same_seed_gives_the_same_run(data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *VQ, "--exp-name", name]
        run_script(train_vq, *flags, "--seed", seed)
    a, b, c = (weights(tmp_path / f"vq/{name}/net_last.pth") for name in "abc")
    assert equal(a, b) and not equal(a, c)


def test_resumed_stage_1(out, data, tmp_path):
    """At a learning rate of nought the networks stay as they were in the file, and the codes' running means go on."""
    start = out / "vq/a/net_last.pth"
    flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *VQ]
    run_script(train_vq, *flags, "--resume-pth", start, "--lr", "0")
    before, after = weights(start), weights(tmp_path / "vq/vq/net_last.pth")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all("/vqvae.quantizer." in name for name in changed)
    assert after["/net/vqvae.quantizer.updates"] == before["/net/vqvae.quantizer.updates"] + 2
    drift = (after["/net/vqvae.quantizer.codebook"] - before["/net/vqvae.quantizer.codebook"]).abs().max()
    assert 0 < drift < 0.2 * before["/net/vqvae.quantizer.codebook"].abs().max(), "not made anew"


def test_a_tokenizer_goes_on_in_its_own_size_and_space(refused, out, data, tmp_path):
    """On other motion too, whose mean is another: else its ids would no longer mean what a transformer learned."""
    content = torch.load(out / "vq/a/net_last.pth", weights_only=True)
    content["mean"] = content["mean"] + 1
    torch.save(content, tmp_path / "start.pth")
    flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *STEPS, "--batch-size", "4"]
    run_script(train_vq, *flags, "--window-size", "32", "--resume-pth", tmp_path / "start.pth")
    found = torch.load(tmp_path / "vq/vq/net_last.pth", weights_only=True)
    assert found["config"] == content["config"]
    assert torch.equal(found["mean"], content["mean"]) and torch.equal(found["std"], content["std"])
    flags_kept = json.loads((tmp_path / "vq/vq/config.json").read_text())
    assert (flags_kept["width"], flags_kept["nb_code"]) == (32, 16)
    assert "--nb-code" in refused(train_vq, *flags, "--resume-pth", tmp_path / "start.pth", "--nb-code", "8")


def test_the_decoder_alone(refused, out, data, tmp_path):
    """Every other weight stays as it was, so the same motion has the same ids."""
    start = out / "vq/a/net_last.pth"
    flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *VQ, "--decoder-only"]
    run_script(train_vq, *flags, "--resume-pth", start, "--total-iter", "3", "--eval-iter", "1")
    before, after = weights(start), weights(tmp_path / "vq/vq/net_last.pth")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "/vqvae.decoder." in name}
    assert "--resume-pth" in refused(train_vq, *flags)


def test_stage_2_by_path(out, data, tmp_path):
    """--resume-pth is --vq-name by another name."""
    flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *TRANS]
    run_script(train_t2m_trans, *flags, "--resume-pth", out / "vq/a/net_last.pth")
    assert equal(weights(tmp_path / "trans/net_last.pth"), weights(out / "b/net_last.pth"))


@pytest.mark.parametrize("more", [[], ["--ema", "0.9"]], ids=["plain", "mean"])
def test_resumed_stage_2(out, data, tmp_path, more):
    """It starts from the file, text encoder too; sizes and the words it knows are the file's."""
    start, vq = out / "b/net_last.pth", out / "vq/a/net_last.pth"
    flags = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, "--resume-pth", vq, *STEPS]
    run_script(train_t2m_trans, *flags, "--batch-size", "4", "--resume-trans", start, "--lr", "0", *more)
    before, after = weights(start), weights(tmp_path / "trans/net_last.pth")
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    found = [events(folder).Scalars("val/loss")[-1].value for folder in (out / "b", tmp_path / "trans")]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    run_script(train_t2m_trans, *flags, "--batch-size", "4", "--resume-trans", start, "--exp-name", "on", *more)
    assert not equal(before, weights(tmp_path / "on/net_last.pth"))


@pytest.mark.parametrize(
    "flags",
    [
        "--optimizer adam --decay-option noVQ --weight-decay 0.1",
        "--balance 1 --pkeep -1 --text-dropout 1 --num-local-layer 0 --cosine",
        "--block-size 8",
        "--precision bf16",
    ],
)
def test_ways_of_stage_2(out, data, tmp_path, flags):
    given = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, *TRANS]
    run_script(train_t2m_trans, *given, "--resume-pth", out / "vq/a/net_last.pth", *flags.split())
    model = load_stage2(tmp_path / "trans/net_last.pth").model
    assert model.config.row_length == (7 if "--block-size" in flags else 49 + 1)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "trans/net_last.pth").values())


def test_stage_1_sizes_of_stage_2(refused, out, data, tmp_path):
    """The published command line repeats them: they are taken, and checked against the tokenizer."""
    vq = ["--resume-pth", out / "vq/a/net_last.pth"]
    given = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path / "fits", *TRANS, *vq]
    run_script(
        train_t2m_trans, *given, "--nb-code", "16", "--code-dim", "8", "--down-t", "2", "--width", "32", "--depth", "1"
    )
    assert "which has 16" in refused(train_t2m_trans, *vq, "--nb-code", "512")


def test_kit(kit_data, tmp_path):
    given = ["--data-root", kit_data, "--dataname", "kit", "--out-dir", tmp_path]
    run_script(train_vq, *given, *VQ, "--loss-joint", "0.5")
    assert load_vqvae(tmp_path / "vq/vq/net_last.pth").config.dim == 251
    found = events(tmp_path / "vq/vq")
    assert 1 < found.Scalars("val/mpjpe_mm")[-1].value < 5000, "millimetres, as the dataset's own unit is"
    run_script(train_t2m_trans, *given, *TRANS)
    run_script(train_length, *given, *LENGTH)
    pipeline = MotionPipeline.load(
        tmp_path / "vq/vq/net_last.pth", tmp_path / "trans/net_last.pth", "cpu", tmp_path / "length/net_last.pth"
    )
    assert pipeline.spec == KIT and pipeline.generate(["a person walks"])[0].joints.shape[1:] == (21, 3)


def test_t2m_is_the_default(data, tmp_path):
    """HumanML3D's own features are of the same layout, and its name is what a run takes where none is given."""
    run_script(train_vq, "--data-root", data, "--out-dir", tmp_path, *VQ)
    assert load_checkpoint(tmp_path / "vq/vq/net_last.pth")["dataset"] == T2M.name


# --- Upper and lower body apart

APART = "vq/vq/net_last.pth"


@pytest.fixture(scope="module")
def apart(data, tmp_path_factory):
    """OUT_DIR of both stages with --sep-uplow."""
    folder = tmp_path_factory.mktemp("apart")
    given = ["--data-root", data, "--dataname", "bandai", "--out-dir", folder, "--sep-uplow"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))
        run_script(train_vq, *given, *VQ, "--loss-joint", "0.5", "--loss-step", "0.5")
    check_run(folder / "vq/vq", [*VQ, "--sep-uplow", "True"])
    run_script(train_t2m_trans, *given, *TRANS, "--shifts", "2")
    return folder


def test_stage_1_apart(apart, data):
    model = load_vqvae(apart / APART)
    assert model.config.parts == ("upper", "lower") and model.codebooks().shape == (2, 16, 4)
    assert model.config.lower_features == BANDAI.lower_features
    clips = read_split(BANDAI, data, "train")
    mean, std = map(torch.from_numpy, training_statistics(data, BANDAI))
    assert torch.equal(model.mean, mean) and torch.equal(model.std, std)
    mean, std = map(torch.from_numpy, upper_statistics(clips, BANDAI))
    assert torch.equal(model.mean_upper, mean) and torch.equal(model.std_upper, std)
    for quantizer in model.quantizers():
        assert quantizer.updates == 2 and (quantizer.codebook - quantizer.codebook[0]).abs().max() > 0
    motion = model.normalise(torch.from_numpy(clips[0].motion))[None]
    assert torch.isfinite(model.decode(model.encode(motion))).all()
    scalars = events(apart / "vq/vq").Tags()["scalars"]
    use = {f"{name}_{part}" for name in ("codes_used", "perplexity") for part in ("upper", "lower")}
    assert {f"train/{name}" for name in {"joints", "steps", "commit", *use}} <= set(scalars)
    assert {f"val/{name}" for name in {"mpjpe_mm", *use}} == {tag for tag in scalars if tag.startswith("val/")}
    assert 1 < events(apart / "vq/vq").Scalars("val/mpjpe_mm")[-1].value < 5000


def test_stage_2_apart(apart, data):
    vq, model = load_vqvae(apart / APART), load_stage2(apart / "trans/net_last.pth").model
    assert model.config.parts == 2 and torch.equal(model.codebooks, vq.codebooks())
    kept = {path.stem: np.load(path) for path in (apart / "vq/vq/codebook").glob("*.npy")}
    train, val = (read_split(BANDAI, data, split) for split in ("train", "val"))
    assert kept.keys() == {clip.name for clip in train + val} | {f"{clip.name}+1" for clip in train}
    clip = train[0]
    for shift, name in enumerate((clip.name, f"{clip.name}+1")):
        motion = clip.motion[shift:][: (len(clip.motion) - shift) // 4 * 4]
        ids = vq.encode(vq.normalise(torch.from_numpy(motion))[None])[0]
        assert ids.shape == (len(motion) // 4, 2) and kept[name].tolist() == ids.tolist()
    found = {tag for tag in events(apart / "trans").Tags()["scalars"] if tag.startswith("val/")}
    assert found == {"val/loss", "val/loss_without_text", "val/loss_without_lower"}
    loss = events(apart / "trans").Scalars("val/loss")[-1].value
    assert loss == pytest.approx(torch.tensor(16.0).log().item(), abs=1.0)


def test_the_two_apart_edit(apart, data):
    pipeline = load_upper_body(apart / APART, apart / "trans/net_best.pth", "cpu")
    features = read_split(BANDAI, data, "test")[0].motion
    (result,) = edit_upper(pipeline, [UpperEdit(features, "a person walks forward")])
    assert result.joints.shape == (len(features), 22, 3) and np.isfinite(result.joints).all()


@pytest.mark.parametrize("flags", ["--lower-mask 0 --pkeep 1", "--lower-mask 1 --precision bf16 --ema 0.9"])
def test_ways_apart(apart, data, tmp_path, flags):
    """Stage 2 from the file, and stage 1 on, in another precision."""
    given = ["--data-root", data, "--dataname", "bandai", "--out-dir", tmp_path, "--sep-uplow", *flags.split()]
    vq, trans = ["--resume-pth", apart / APART], ["--resume-trans", apart / "trans/net_last.pth"]
    run_script(train_t2m_trans, *given, *TRANS, *vq, *trans)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "trans/net_last.pth").values())
    if "bf16" in flags:
        run_script(train_vq, *given[:7], *VQ, *vq, "--precision", "bf16", "--quantizer", "reset")
        before, after = weights(apart / APART), weights(tmp_path / APART)
        assert before.keys() == after.keys() and not equal(before, after)
        assert all(torch.isfinite(value).all() for value in after.values())


def test_apart_or_not(refused, apart, tiny):
    """--sep-uplow and the files must say the same."""
    vq, whole = ["--resume-pth", apart / APART], ["--resume-pth", tiny.vq]
    for script in (train_vq, train_t2m_trans):
        assert "give --sep-uplow" in refused(script, *vq)
        assert "whole-body tokenizer: --sep-uplow needs one" in refused(script, *whole, "--sep-uplow")
    assert "whole-body model" in refused(train_t2m_trans, *vq, "--sep-uplow", "--resume-trans", tiny.trans)
    assert "upper-body model" in refused(train_t2m_trans, *whole, "--resume-trans", apart / "trans/net_last.pth")
    assert "upper and lower" in refused(train_vq, "--sep-uplow", "--code-dim", "7")
    assert "--lower-mask" in refused(train_t2m_trans, *vq, "--sep-uplow", "--lower-mask", "-1")


# --- Mistakes: one line on stderr, status 2, no output folder


@pytest.fixture
def refused(data, tmp_path, capsys):
    def run(script, *flags):
        small = {train_vq: VQ, train_t2m_trans: TRANS, train_length: LENGTH}[script]
        out = tmp_path / "out"
        given = ["--dataname", "bandai", "--data-root", data, *small, "--out-dir", out]
        message = refusal(capsys, script, *given, *flags)
        assert not out.exists()
        return message

    return run


@pytest.mark.parametrize("script", [train_vq, train_t2m_trans, train_length], ids=lambda script: script.__name__)
def test_datasets_that_are_not_there(refused, tiny, data, tmp_path, script):
    vq = ["--resume-pth", tiny.vq] if script is train_t2m_trans else []
    assert "'nope'" in refused(script, "--dataname", "nope", *vq)
    assert "nowhere" in refused(script, "--data-root", tmp_path / "nowhere", *vq)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(script, "--data-root", tmp_path / "empty", *vq)
    half = tmp_path / "half"
    shutil.copytree(data, half)
    (half / "val.txt").unlink()
    assert "no split 'val'" in refused(script, "--data-root", half, *vq)
    assert "device 'nonsense'" in refused(script, "--device", "nonsense", *vq)
    assert "--nonsense" in refused(script, "--nonsense", *vq)


@pytest.mark.parametrize(
    "flags",
    [
        "--quantizer vq", "--stride-t 3", "--vq-norm XX", "--vq-act tanh", "--recons-loss l3", "--nb-code many",
        "--vq-norm GN --width 40", "--precision 8",
    ],
)  # fmt: skip
def test_flags_of_stage_1(refused, flags):
    message = refused(train_vq, *flags.split())
    assert flags.split()[0] in message or "num_channels" in message


@pytest.mark.parametrize("flags", ["--optimizer sgd", "--decay-option none", "--text-encoder bert", "--lr fast"])
def test_flags_of_stage_2(refused, tiny, flags):
    assert flags.split()[0] in refused(train_t2m_trans, "--resume-pth", tiny.vq, *flags.split())


def test_checkpoints_that_are_not_there(refused, tiny, tmp_path):
    nowhere = tmp_path / "nowhere.pth"
    assert "nowhere.pth" in refused(train_vq, "--resume-pth", nowhere)
    assert "nowhere.pth" in refused(train_t2m_trans, "--resume-pth", nowhere)
    assert "vq/absent/net_last.pth" in refused(train_t2m_trans, "--vq-name", "absent")
    assert "nowhere.pth" in refused(train_t2m_trans, "--resume-pth", tiny.vq, "--resume-trans", nowhere)


def test_checkpoints_of_the_other_stage(refused, tiny):
    assert "no stage-1 checkpoint" in refused(train_vq, "--resume-pth", tiny.trans)
    assert "no stage-1 checkpoint" in refused(train_t2m_trans, "--resume-pth", tiny.trans)
    assert "no stage-2 checkpoint" in refused(train_t2m_trans, "--resume-pth", tiny.vq, "--resume-trans", tiny.vq)


def test_checkpoints_of_another_dataset(refused, tmp_path):
    """A tokenizer of KIT's 251 features for Bandai-Namco's 263."""
    kit = make_checkpoints(tmp_path / "kit", KIT)
    assert "251" in refused(train_vq, "--resume-pth", kit.vq)
    assert "251" in refused(train_t2m_trans, "--resume-pth", kit.vq)


def test_a_transformer_of_another_tokenizer(refused, tiny, tmp_path):
    other = make_checkpoints(tmp_path / "other", BANDAI, seed=1)
    message = refused(train_t2m_trans, "--resume-pth", tiny.vq, "--resume-trans", other.trans)
    assert "tokenizer" in message


def test_an_out_dir_that_cannot_be(data, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path / "file/below"]
    assert str(tmp_path / "file") in refusal(capsys, train_vq, *given, *VQ)
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    "flags", ["--batch-size 0", "--print-iter 0", "--eval-iter 0", "--window-size 2", "--nb-code 0", "--lr -1"]
)
def test_numbers_out_of_range(refused, flags):
    refused(train_vq, *flags.split())


@pytest.mark.parametrize(
    "flags",
    ["--batch-size 0", "--print-iter 0", "--eval-iter 0", "--block-size 2", "--n-head-gpt 3", "--clip-dim 15"],
)
def test_numbers_out_of_range_of_stage_2(refused, tiny, flags):
    refused(train_t2m_trans, "--resume-pth", tiny.vq, *flags.split())


def test_resumed_stage_1_learns_as_the_flags_say(refused, out, data, tmp_path):
    """The file gives the weights; how the codebook goes on learning is the flags', and sizes must be the file's."""
    start = out / "vq/a/net_last.pth"
    config = load_vqvae(start).config
    sizes = ["--nb-code", config.codes, "--code-dim", config.code_dim, "--width", config.conv.width]
    sizes += ["--depth", config.conv.depth, "--dataname", "bandai", "--data-root", data, "--resume-pth", start]
    run_script(
        train_vq, *sizes, "--out-dir", tmp_path, *STEPS, "--quantizer", "ema", "--mu", "0.9", "--batch-size", "4"
    )
    again = load_vqvae(tmp_path / "vq/vq/net_last.pth").config
    assert (config.quantizer, again.quantizer, again.mu) == ("ema_reset", "ema", 0.9)
    assert "--nb-code" in refused(train_vq, *sizes, "--nb-code", config.codes + 1)
