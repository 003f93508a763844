"""The paper's setting from the command line: released checkpoints, CLIP, HumanML3D, and the published commands.

Every test runs in a folder of its own, where a person would have put the published files. The checkpoints are the
golden ones (laid out as the released, smaller), CLIP is a tiny one of their width of text.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import edit
import generate
import train_t2m_trans
import train_vq
from dataset.humanml import read_split
from dataset.spec import T2M
from models.clip import ClipTextEncoder
from models.pipeline import GUIDANCE, MotionPipeline
from models.text_encoder import TextFeatures
from models.transformer import load_stage2, load_transformer
from models.upper_body import UpperEdit, edit_upper, load_upper_body
from models.vqvae import load_vqvae
from tests.models.test_clip import saved, tiny_tower
from tests.motions import walking
from tests.tiny import CAPTIONS, contents, make_dataset, refusal, run_script
from utils.motion import features_to_joints, joints_to_features

VQ_RUN, TRANS_RUN = "output/vq/2024-06-03-20-22-07_retrain", "output/t2m/2024-06-04-09-29-20_trans_name_b128"
RELEASED = ["--resume-pth", f"{VQ_RUN}/net_last.pth", "--resume-trans", f"{TRANS_RUN}/net_last.pth"]
TEXT = "the person crouches and walks forward."
ASK = ["--text", TEXT, "--length", "156"]
SIZES = """
    --nb-code 48 --code-dim 16 --down-t 2 --stride-t 2 --width 32 --depth 3 --dilation-growth-rate 3
    --output-emb-width 512 --vq-act relu --quantizer ema_reset --mu 0.99 --beta 1.0 --block-size 51
    --embed-dim-gpt 64 --clip-dim 24 --num-layers 4 --num-local-layer 2 --n-head-gpt 4 --ff-rate 4
    --drop-out-rate 0.1 --pkeep 0.5 --dataname t2m
""".split()  # noqa: SIM905, a command line reads better
META = "checkpoints/t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta"
STEPS = ["--total-iter", "2", "--print-iter", "1", "--eval-iter", "2", "--batch-size", "4", "--device", "cpu"]
SMALL_VQ = [*STEPS, "--width", "32", "--depth", "1", "--nb-code", "16", "--code-dim", "8", "--window-size", "32"]
SMALL_TRANS = [*STEPS, "--embed-dim-gpt", "32", "--n-head-gpt", "2", "--num-layers", "2"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, and no pictures."""
    monkeypatch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> list[str]:
    """The flag that gives a CLIP whose words and sentences are as wide as the golden transformers' text."""
    tower = tiny_tower(hidden_size=24, intermediate_size=96, projection_dim=24)
    return ["--clip-model", saved(tmp_path_factory.mktemp("clip"), tower)]


def put(source: Path, run: str) -> Path:
    """A released checkpoint where its download script puts it."""
    Path(run).mkdir(parents=True)
    return Path(shutil.copy(source, f"{run}/net_last.pth"))


@pytest.fixture
def place(tmp_path, monkeypatch, shared):
    """A working folder with the released checkpoints."""
    monkeypatch.chdir(tmp_path)
    put(shared / "golden/A/vq_net_last.pth", VQ_RUN)
    put(shared / "golden/A/trans_net_last.pth", TRANS_RUN)
    return tmp_path


@pytest.fixture
def statistics(place, golden):
    """What download_extractor.sh brings of t2m: mean and deviation [D]."""
    Path(META).mkdir(parents=True)
    for name in ("mean", "std"):
        np.save(f"{META}/{name}.npy", golden[f"sep.{name}"].numpy())
    return golden["sep.mean"], golden["sep.std"]


@pytest.fixture
def passes(monkeypatch):
    """The batches of sentences that CLIP is run on."""
    seen = []
    forward = ClipTextEncoder.forward
    monkeypatch.setattr(ClipTextEncoder, "forward", lambda self, texts: seen.append(texts) or forward(self, texts))
    return seen


def written(capsys, suffix=".npy") -> Path:
    """The one file of that kind whose path was printed last."""
    printed = capsys.readouterr()
    assert printed.err == ""
    (path,) = (Path(line) for line in printed.out.splitlines() if line.endswith(suffix))
    return path


# --- Released checkpoints


@pytest.mark.parametrize("sizes", [[], SIZES], ids=["no sizes", "published sizes"])
def test_the_published_command(statistics, clip, capsys, sizes):
    run_script(generate, *RELEASED, *ASK, *clip, *sizes)
    joints = np.load(written(capsys))
    assert joints.shape == (156, 22, 3) and np.isfinite(joints).all()


def test_the_golden_motion(statistics, golden, clip, capsys, monkeypatch):
    """From the command line to joints, with golden text in CLIP's place: the first golden row has 156 frames,
    and the released models are sampled without guidance unless one asks for it.
    """
    sentence, words = golden["trans.text_sentence"][:1], golden["trans.text_words"][:1]
    mask = torch.arange(77)[None] < 9  # the released transformers attend to padding: whatever is said of it
    answers = {(TEXT,): TextFeatures(sentence, words, mask)}  # and none for a sentence left out
    monkeypatch.setattr(ClipTextEncoder, "forward", lambda self, texts: answers[tuple(texts)])
    run_script(generate, *RELEASED, *ASK, *clip, "--temperature", "0", "--no-plant-feet")
    mean, std = statistics
    expected = features_to_joints(golden["trans.motion.0"][0] * std + mean, T2M)
    np.testing.assert_allclose(np.load(written(capsys)), expected, atol=2e-3)


def test_guidance_is_for_models_that_know_no_text(statistics, clip, passes):
    """The released ones never went without their text: half of a guided pass would be nonsense."""
    pipeline = MotionPipeline.load(*RELEASED[1::2], "cpu", clip_model=clip[1])
    assert pipeline.guidance == 1.0 and GUIDANCE > 1.0
    pipeline.generate([TEXT], [20], cfg_scale=None)
    assert passes == [[TEXT]]
    pipeline.generate([TEXT], [20], cfg_scale=2.0)
    assert passes[1:] == [[TEXT, ""]]


def test_sizes_of_other_checkpoints(statistics, clip, capsys):
    message = refusal(capsys, generate, *RELEASED, *ASK, *clip, "--num-local-layer", "1")
    assert "--num-local-layer 1" in message and "which has 2" in message


def test_without_statistics(place, clip, capsys):
    before = contents(place)
    message = refusal(capsys, generate, *RELEASED, *ASK, *clip)
    assert META in message and "bash dataset/prepare/download_extractor.sh" in message
    assert contents(place) == before


def test_without_a_length(statistics, clip, place, capsys):
    before = contents(place)
    assert "give --length" in refusal(capsys, generate, *RELEASED, "--text", TEXT, *clip)
    assert contents(place) == before


# --- Upper body


def test_upper_body_checkpoints_load_by_path(shared):
    tokenizer = load_vqvae(shared / "golden/A/sep_vq_net_last.pth")
    transformer = load_transformer(shared / "golden/A/sep_trans_net_last.pth")
    assert tokenizer.config.parts == ("upper", "lower") and transformer.config.parts == 2
    assert torch.equal(tokenizer.codebooks(), transformer.codebooks)


@pytest.mark.parametrize("halves", ["vq", "trans", "both"])
def test_upper_body_checkpoints_make_no_motion_from_text(statistics, shared, clip, capsys, halves):
    flags = dict(zip(RELEASED[::2], RELEASED[1::2]))
    if halves in ("vq", "both"):
        flags["--resume-pth"] = put(shared / "golden/A/sep_vq_net_last.pth", "output/vq/vq_upperbody")
    if halves in ("trans", "both"):
        flags["--resume-trans"] = put(shared / "golden/A/sep_trans_net_last.pth", "output/t2m/trans_upperbody")
    message = refusal(capsys, generate, *(word for pair in flags.items() for word in pair), *ASK, *clip)
    assert f"{'trans' if halves == 'trans' else 'vq'}_upperbody" in message and "upper-body" in message
    assert not Path("output/generate").exists()


def test_upper_body_checkpoints_edit(statistics, shared, clip, capsys):
    """The released pair makes an upper body to a walk's legs; without guidance, which it never learned."""
    flags = ["--resume-pth", put(shared / "golden/A/sep_vq_net_last.pth", "output/vq/vq_upperbody")]
    flags += ["--resume-trans", put(shared / "golden/A/sep_trans_net_last.pth", "output/t2m/trans_upperbody")]
    walk = joints_to_features(walking(T2M, 61), T2M)
    np.save("walk.npy", walk)
    run_script(
        edit, "upper", "--motion", "walk.npy", "--text", TEXT, *flags, *clip, "--device", "cpu", "--formats", "npy"
    )
    (path,) = capsys.readouterr().out.split()
    pipeline = load_upper_body(flags[1], flags[3], "cpu", clip_model=clip[1])
    assert pipeline.guidance == 1
    (result,) = edit_upper(pipeline, [UpperEdit(walk, TEXT)])
    np.testing.assert_allclose(np.load(path), result.joints, rtol=1e-5, atol=1e-5)


def test_upper_body_checkpoints_are_trained_as_such(statistics, shared, clip, capsys):
    make_dataset(Path(T2M.folder), T2M)
    vq = put(shared / "golden/A/sep_vq_net_last.pth", "output/vq/vq_upperbody")
    trans = put(shared / "golden/A/sep_trans_net_last.pth", "output/t2m/trans_upperbody")
    assert "upper-body" in refusal(capsys, train_t2m_trans, "--resume-pth", vq, *SMALL_TRANS, *clip)
    whole = ["--resume-pth", RELEASED[1], "--resume-trans", trans]
    assert "upper-body" in refusal(capsys, train_t2m_trans, *whole, *SMALL_TRANS, *clip)
    apart = ["--sep-uplow", "--resume-pth", vq, "--resume-trans", trans]
    run_script(train_t2m_trans, *apart, *SMALL_TRANS, *clip, "--lr", "0")
    before, after = load_transformer(trans).state_dict(), load_transformer("output/trans/net_last.pth").state_dict()
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


# --- Training, with the published command lines


def test_the_published_training_commands(tmp_path, monkeypatch, clip, passes, capsys):
    """Stage 1, stage 2 and a motion in a bare working folder with HumanML3D in it."""
    monkeypatch.chdir(tmp_path)
    make_dataset(Path(T2M.folder), T2M)
    run_script(train_vq, "--dataname", "t2m", "--exp-name", "vq_name", *SMALL_VQ)
    stage_2 = ["--vq-name", "vq_name", "--out-dir", "output/t2m", "--exp-name", "trans_name", "--num-local-layer", "2"]
    run_script(train_t2m_trans, *stage_2, *SMALL_TRANS, *clip)
    model, text, dataset = load_stage2("output/t2m/trans_name/net_last.pth")
    assert (dataset, text) == ("t2m", {"kind": "clip", "source": clip[1]})
    assert (model.config.local_layers, model.config.text_dim, model.config.mask_words) == (2, 24, True)
    names = {clip.name for split in ("train", "val") for clip in read_split(T2M, Path(T2M.folder), split)}
    assert {path.stem for path in Path("output/vq/vq_name/codebook").glob("*.npy")} == names
    assert not Path("output/t2m/vq").exists()

    # each caption once, and the empty one; nothing of it at a second start, nor of the codebook
    assert sorted(text for batch in passes for text in batch) == sorted({*CAPTIONS, ""})
    passes.clear()
    kept = contents(Path("output/vq"))
    run_script(train_t2m_trans, *stage_2, *SMALL_TRANS, *clip)
    assert passes == [] and contents(Path("output/vq")) == kept

    capsys.readouterr()
    trained = ["--resume-pth", "output/vq/vq_name/net_last.pth", "--resume-trans", "output/t2m/trans_name/net_last.pth"]
    run_script(generate, *trained, *ASK, "--num-local-layer", "2")
    assert np.load(written(capsys)).shape == (156, 22, 3)
    assert passes == [[TEXT, ""]], "guided, for it was trained without text now and then"


def test_stage_2_on_the_released_tokenizer(statistics, clip, capsys):
    """By path, whatever --vq-name is; it lives in the space of the published statistics."""
    make_dataset(Path(T2M.folder), T2M)
    given = ["--resume-pth", RELEASED[1], "--out-dir", "output/t2m", "--text-encoder", "clip", *clip, *SMALL_TRANS]
    run_script(train_t2m_trans, *given)
    tokenizer = load_vqvae(RELEASED[1], "cpu", *statistics)
    clip_0 = read_split(T2M, Path(T2M.folder), "train")[0]
    motion = torch.from_numpy(clip_0.motion[: len(clip_0.motion) // 4 * 4])
    ids = tokenizer.encode(tokenizer.normalise(motion)[None])[0]
    assert np.load(f"{VQ_RUN}/codebook/{clip_0.name}.npy").tolist() == ids.tolist()
    assert torch.equal(load_transformer("output/t2m/trans/net_last.pth").codebooks, tokenizer.codebooks())
    shutil.rmtree(META)
    assert "download_extractor.sh" in refusal(capsys, train_t2m_trans, *given)


def test_going_on_from_the_released_transformer(statistics, clip, monkeypatch):
    """It attends to the vectors of padding: trained further, it is given them as when it makes a motion."""
    make_dataset(Path(T2M.folder), T2M)
    expected = MotionPipeline.load(*RELEASED[1::2], "cpu", clip_model=clip[1]).text_encoder(CAPTIONS)
    tables, make = [], train_t2m_trans.text_table
    monkeypatch.setattr(train_t2m_trans, "text_table", lambda *a, **k: tables.append(make(*a, **k)) or tables[-1])
    run_script(train_t2m_trans, *RELEASED, *clip, *SMALL_TRANS, "--lr", "0")
    found = tables[0](CAPTIONS)
    assert found.words.shape == (len(CAPTIONS), 77, 24) and found.mask.all()
    assert torch.allclose(found.words, expected.words, rtol=2e-3, atol=2e-3), "half precision"
    before, after = load_transformer(RELEASED[3]), load_transformer("output/trans/net_last.pth")
    assert before.config == after.config
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(before.parameters(), after.parameters()))


def test_where_a_tokenizer_is_looked_for(statistics, shared, clip, capsys):
    """OUT_DIR/vq comes first, then where train_vq.py writes when not told otherwise; an error names both."""
    make_dataset(Path(T2M.folder), T2M)
    given = ["--out-dir", "output/t2m", *SMALL_TRANS, *clip]
    message = refusal(capsys, train_t2m_trans, *given, "--vq-name", "absent")
    assert "output/t2m/vq/absent/net_last.pth" in message and "output/vq/absent/net_last.pth" in message
    message = refusal(capsys, train_t2m_trans, *SMALL_TRANS, *clip, "--vq-name", "absent")
    assert message.count("absent/net_last.pth") == 1, "the two are one"
    put(shared / "golden/A/sep_vq_net_last.pth", "output/vq/both")  # which would be refused
    put(shared / "golden/A/vq_net_last.pth", "output/t2m/vq/both")
    run_script(train_t2m_trans, *given, "--vq-name", "both")
    assert Path("output/t2m/vq/both/codebook").is_dir() and not Path("output/vq/both/codebook").exists()
