"""Editing the upper body: what of the source stays, what has no influence, and what cannot be done."""

from pathlib import Path

import numpy as np
import pytest
import torch

import edit
import models.upper_body
from dataset.spec import BANDAI, KIT, T2M
from models.ids import mask_id, token_count
from models.pipeline import LOWER_MASK, UPPER_GUIDANCE, MotionPipeline
from models.text_encoder import TextFeatures
from models.transformer import load_transformer
from models.upper_body import UpperEdit, edit_upper, load_upper_body
from models.vqvae import load_vqvae
from pretrained import export
from tests.motions import walking
from tests.tiny import contents, make_checkpoints, refusal, run_script, tiny_upper_vq
from utils.checkpoint import load_checkpoint
from utils.motion import features_to_joints, joints_to_features

WALK, RUN = "a person walks forward", "a person runs forward"
UPPER = [column for column in range(BANDAI.dim) if column not in BANDAI.lower_features]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("upper"), make_vq=tiny_upper_vq)


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("body"))


@pytest.fixture(scope="module")
def pipeline(tiny):
    return load_upper_body(tiny.vq, tiny.trans, "cpu")


@pytest.fixture(scope="module")
def walk():
    return joints_to_features(walking(BANDAI, 59), BANDAI)  # 58 frames: the last token is not whole


def one(pipeline, features, text=WALK, **choices):
    return edit_upper(pipeline, [UpperEdit(features, text)], **choices)[0]


@torch.no_grad()
def encoded(tokenizer, features):
    return tokenizer.encode(tokenizer.normalise(torch.from_numpy(features))[None])


# --- The lower body is the source's, the upper body is not


@pytest.mark.parametrize("lower_mask", [0.0, 0.5, 1.0])
@torch.no_grad()
def test_the_lower_body_is_the_sources(pipeline, walk, lower_mask):
    """Its ids are the source's, and its joints those of the source's reconstruction."""
    tokenizer = pipeline.tokenizer
    ids = encoded(tokenizer, walk)
    result = one(pipeline, walk, lower_mask=lower_mask)
    assert result.ids.shape == (15, 2) and result.features.shape == (58, 263) and result.joints.shape == (58, 22, 3)
    assert result.ids[:, 1].tolist() == ids[0, :, 1].tolist() and result.ids.max() < 16
    assert result.ids[:, 0].tolist() != ids[0, :, 0].tolist()
    rendered = tokenizer.denormalise(tokenizer.decode(ids))[0, :58]
    joints = features_to_joints(rendered, BANDAI).numpy()
    away = np.linalg.norm(joints - result.joints, axis=-1)
    assert away[:, list(BANDAI.lower_joints)].max() < 0.001
    assert away.max() > 0.02, "a control: the upper body is another"


def test_the_sources_upper_body_has_no_influence(pipeline, walk):
    other = walk.copy()
    other[:, UPPER] = np.random.default_rng(0).normal(size=other[:, UPPER].shape)
    a, b = (one(pipeline, features, lower_mask=0.3) for features in (walk, other))
    assert np.array_equal(a.ids, b.ids) and np.array_equal(a.features, b.features)


def test_the_lower_body_has_influence(pipeline, walk):
    """On the upper ids, unless it is hidden."""
    run = joints_to_features(walking(BANDAI, 59, 2.5, 0.5, 1.3), BANDAI)
    a, b = (one(pipeline, features, temperature=0, cfg_scale=1.0, lower_mask=0.0).ids for features in (walk, run))
    assert (a[:, 1] != b[:, 1]).any() and (a[:, 0] != b[:, 0]).any()
    a, b = (one(pipeline, features, temperature=0, lower_mask=1.0).ids for features in (walk, run))
    assert (a[:, 0] == b[:, 0]).all()


# --- Draws


def test_the_same_seed_gives_the_same_result(pipeline, walk):
    a, b, c = (one(pipeline, walk, seed=seed, cfg_scale=1.0).ids for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    first, second = edit_upper(pipeline, [UpperEdit(walk, WALK, sample) for sample in (0, 1)], seed=1, cfg_scale=1.0)
    assert np.array_equal(first.ids, a) and not np.array_equal(second.ids, a)


def test_a_sentence_hides_most_of_the_legs(pipeline, walk):
    """Where no share is asked for: the usual one with a sentence, none without."""
    assert pipeline.lower_mask == LOWER_MASK and pipeline.guidance == UPPER_GUIDANCE
    usual, asked, none = (one(pipeline, walk, WALK, cfg_scale=1.0, lower_mask=x).ids for x in (None, LOWER_MASK, 0.0))
    assert np.array_equal(usual, asked) and not np.array_equal(usual, none)
    usual, none = (one(pipeline, walk, "", cfg_scale=1.0, lower_mask=x).ids for x in (None, 0.0))
    assert np.array_equal(usual, none)


def test_the_sentence_counts(pipeline, walk):
    a, b, c = (one(pipeline, walk, text, temperature=0, cfg_scale=4.0).ids for text in (WALK, RUN, ""))
    assert not np.array_equal(a, b) and not np.array_equal(a, c)


def test_a_batch_is_its_edits_alone(pipeline, walk):
    edits = [UpperEdit(walk, WALK), UpperEdit(walk[:21], RUN), UpperEdit(walk[5:50], "")]
    for result, wanted in zip(edit_upper(pipeline, edits, lower_mask=0.2), edits):
        alone = one(pipeline, wanted.features, wanted.text, lower_mask=0.2)
        assert np.array_equal(result.ids, alone.ids) and result.text == wanted.text
        np.testing.assert_allclose(result.features, alone.features, atol=1e-4)


@torch.no_grad()
def test_golden_through_the_pipeline(golden, shared):
    """Released files: the upper ids of the golden sample, given the lower ones."""
    tokenizer = load_vqvae(shared / "golden/A/sep_vq_net_last.pth", mean=golden["sep.mean"], std=golden["sep.std"])
    transformer = load_transformer(shared / "golden/A/sep_trans_net_last.pth")

    def text(_):
        return TextFeatures(golden["trans.text_sentence"], golden["trans.text_words"], None)

    pipeline = MotionPipeline(tokenizer, transformer, text, None, T2M, torch.device("cpu"), "32", 1.0)
    lengths = token_count(golden["trans.lengths_frames"])
    lower = golden["sep.lower_ids"][:, : int(lengths.max())]
    given = torch.stack((torch.full_like(lower, mask_id(48)), lower), dim=-1)
    filled = pipeline.fill_ids(given, lengths, [["a", "b", "c", "d"]], [torch.Generator()] * 4, 0.0, 1.0, 20)
    for row, wanted, below, length in zip(filled, golden["sep.sample_upper_greedy"], lower, lengths):
        assert torch.equal(row[:length, 0], wanted[:length]) and torch.equal(row[:length, 1], below[:length])


# --- What cannot be done


def test_other_pipelines(pipeline, body, walk):
    whole = MotionPipeline.load(body.vq, body.trans, "cpu", body.length)
    with pytest.raises(ValueError, match="load_upper_body"):
        one(whole, walk)
    with pytest.raises(ValueError, match="upper-body model"):
        pipeline.generate([WALK], [40])


def test_motions_that_cannot_be_edited(pipeline, walk):
    broken = walk.copy()
    broken[3, 7] = np.nan
    long = joints_to_features(walking(BANDAI, 100), BANDAI)
    for features, message in (
        (broken, "nan"),
        (walk[:3], "frames"),
        (walk[:0], "frames"),
        (walk[:, 1:], "263"),
        (long, "76"),
    ):
        with pytest.raises(ValueError, match=message):
            one(pipeline, features)
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="share"):
            one(pipeline, walk, lower_mask=share)


# --- From the command line


@pytest.fixture
def refused(tmp_path, capsys, walk):
    """What edit.py upper says of these checkpoints and flags; nothing is written."""
    np.save(tmp_path / "walk.npy", walk)

    def run(checkpoints, *flags):
        paths = checkpoints.flags if checkpoints else []
        said = refusal(
            capsys, edit, "upper", "--motion", tmp_path / "walk.npy", *paths, "--out-dir", tmp_path / "out", *flags
        )
        assert not (tmp_path / "out").exists()
        return said

    return run


def test_the_command(tiny, tmp_path, capsys, walk):
    np.save(tmp_path / "walk.npy", walk)
    np.save(tmp_path / "joints.npy", features_to_joints(walk, BANDAI) + [3.0, 0.0, 1.0])
    made = {}
    for name in ("walk", "joints"):
        flags = ["--text", WALK, "--device", "cpu", "--out-dir", tmp_path / name, *tiny.flags]
        run_script(edit, "upper", "--motion", tmp_path / f"{name}.npy", *flags)
        page, array = capsys.readouterr().out.split()
        assert page.endswith(f"000_upper-{name}_0.html") and "(upper body of " in Path(page).read_text()
        made[name] = np.load(array)
    pipeline = load_upper_body(tiny.vq, tiny.trans, "cpu")
    np.testing.assert_allclose(made["walk"], one(pipeline, walk).joints, atol=1e-5)
    where = made["joints"][:, list(BANDAI.lower_joints)].mean(axis=(0, 1))
    source = features_to_joints(walk, BANDAI)[:, list(BANDAI.lower_joints)].mean(axis=(0, 1)) + [3.0, 0.0, 1.0]
    np.testing.assert_allclose(where[[0, 2]], source[[0, 2]], atol=1e-3)


def test_weights_of_another_kind(refused, tiny, body, tmp_path):
    assert "vq.pth is a whole-body model" in refused(body)
    assert "trans.pth is a whole-body model" in refused(tiny._replace(trans=body.trans))
    said = refused(make_checkpoints(tmp_path / "kit", KIT, make_vq=tiny_upper_vq))
    assert "wants features [T, 251]" in said
    other = make_checkpoints(tmp_path / "other", seed=1, make_vq=tiny_upper_vq)
    assert "another tokenizer" in refused(tiny._replace(trans=other.trans))


def test_upper_body_weights_elsewhere(tiny, tmp_path, capsys, walk):
    np.save(tmp_path / "walk.npy", walk)
    said = refusal(
        capsys, edit, "prefix", "--motion", tmp_path / "walk.npy", *tiny.flags, "--out-dir", tmp_path / "out"
    )
    assert "is an upper-body model" in said


def test_weights_that_do_not_ship(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(models.upper_body, "PRETRAINED", tmp_path / "pretrained")
    said = refused(None)
    assert "pretrained/vq_upper.pth" in said
    assert "train_vq.py --sep-uplow" in said and "train_t2m_trans.py --sep-uplow" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--lower-mask 1.1", "--lower-mask"), ("--lower-mask -1", "--lower-mask"), ("--lower-mask nan", "--lower-mask"),
        ("--frames 1:5", "--frames"), ("--bend", "--bend"), ("--no-keep-exact", "--no-keep-exact"),
        ("--length 40", "--length"), ("--text a b", "2 sentences"), ("--nb-code 99", "--nb-code"),
    ],
)  # fmt: skip
def test_flags(refused, tiny, flags, message):
    assert message in refused(tiny, *flags.split())


def test_lower_mask_is_for_upper(body, tmp_path, capsys):
    said = refusal(capsys, edit, "prefix", "--motion", tmp_path / "walk.npy", "--lower-mask", "0.5")
    assert "--lower-mask is for upper" in said


# --- Export


def test_export(tiny, body, tmp_path, walk, capsys):
    """Half precision, the same ids and nearly the same motion."""
    flags = ["--vq-upper", tiny.vq, "--trans-upper", tiny.trans, "--out-dir", tmp_path]
    run_script(export, *flags)
    assert sorted(contents(tmp_path)) == ["trans_upper.pth", "vq_upper.pth"]
    state = load_checkpoint(tmp_path / "vq_upper.pth")["net"]
    assert (
        state["vqvae.mean_upper"].dtype == torch.float32 and state["vqvae.quantizer_upper.codebook"].dtype == torch.half
    )
    assert not any("code_sum" in name for name in state)
    shipped = load_upper_body(tmp_path / "vq_upper.pth", tmp_path / "trans_upper.pth", "cpu")
    exact = load_upper_body(tiny.vq, tiny.trans, "cpu")
    a, b = (one(pipeline, walk, temperature=0, cfg_scale=1.0) for pipeline in (shipped, exact))
    assert (a.ids == b.ids).mean() > 0.8
    assert "is a whole-body model" in refusal(capsys, export, "--vq-upper", body.vq, "--trans-upper", body.trans)
    assert "go together" in refusal(capsys, export, "--vq-upper", tiny.vq)
    assert "name a checkpoint" in refusal(capsys, export)
