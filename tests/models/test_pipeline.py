"""Everything together: what a motion depends on, and files that do not belong together."""

import numpy as np
import pytest
import torch

from dataset.spec import BANDAI, KIT, T2M
from models.ids import make_rows, mask_id
from models.pipeline import BATCH, MotionPipeline
from models.sampling import sample
from models.transformer import transformer_checkpoint
from models.vqvae import vqvae_checkpoint
from tests.tiny import CAPTIONS, make_checkpoints, tiny_text_encoder, tiny_transformer, tiny_vq
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.motion import features_to_joints, plant_feet

TEXTS = ["a person walks forward", "someone is waving", "", "a person runs and turns left, then right", "zzzz"]
LENGTHS = [76, 41, 4, 60, 23]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pipeline(files):
    return MotionPipeline.load(files.vq, files.trans, "cpu", files.length, precision="32")


def same(a, b):
    return np.array_equal(a.ids, b.ids) and np.allclose(a.features, b.features, atol=1e-4)


def test_motions(pipeline):
    motions = pipeline.generate(TEXTS, LENGTHS, seed=3)
    as_decoded = pipeline.generate(TEXTS, LENGTHS, seed=3, feet=False)
    assert [motion.text for motion in motions] == TEXTS
    for motion, plain, length in zip(motions, as_decoded, LENGTHS):
        assert motion.features.shape == (length, BANDAI.dim) and motion.features.dtype == np.float32
        assert motion.joints.shape == (length, 22, 3) and np.isfinite(motion.joints).all()
        assert motion.ids.shape == (-(-length // 4),) and motion.ids.min() >= 0 and motion.ids.max() < 16
        assert motion.fps == BANDAI.fps
        np.testing.assert_allclose(motion.joints, features_to_joints(motion.features, BANDAI), atol=1e-6)
        wanted = pipeline.tokenizer.decode(torch.from_numpy(motion.ids)[None])
        wanted = pipeline.tokenizer.denormalise(wanted)[0, :length].detach().numpy()
        np.testing.assert_allclose(plain.features, wanted, atol=1e-4)
        planted = plant_feet(torch.from_numpy(plain.features), BANDAI).numpy()
        np.testing.assert_allclose(motion.features, planted, atol=1e-5)


def test_joints_are_in_metres(tmp_path):
    files = make_checkpoints(tmp_path, KIT)
    pipeline = MotionPipeline.load(files.vq, files.trans, "cpu", precision="32")
    assert pipeline.spec == KIT
    (motion,) = pipeline.generate(["a person walks"], [30])
    assert motion.joints.shape == (30, 21, 3) and motion.fps == 12.5
    np.testing.assert_allclose(1000 * motion.joints, features_to_joints(motion.features, KIT), rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("cfg_scale", [1.0, 2.5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_does_not_depend_on_the_others(pipeline, cfg_scale, temperature):
    options = {"seed": 5, "temperature": temperature, "cfg_scale": cfg_scale}
    together = pipeline.generate(TEXTS, LENGTHS, **options)
    backwards = pipeline.generate(TEXTS[::-1], LENGTHS[::-1], **options)[::-1]
    for motion, other, text, length in zip(together, backwards, TEXTS, LENGTHS):
        (alone,) = pipeline.generate([text], [length], **options)
        assert same(motion, alone) and same(motion, other)


def test_more_sentences_than_a_batch(pipeline):
    texts = [f"{TEXTS[i % 5]} {CAPTIONS[i % 7]} {i}" for i in range(BATCH + 5)]
    lengths = [4 + 7 * i % 60 for i in range(BATCH + 5)]
    motions = pipeline.generate(texts, lengths, steps=4)
    assert [(motion.text, len(motion.joints)) for motion in motions] == list(zip(texts, lengths))
    for i in (0, 17, 34):  # sentences repeat after 35
        (alone,) = pipeline.generate([texts[i]], [lengths[i]], steps=4)
        assert same(motions[i], alone)


@torch.no_grad()
def test_no_guidance_is_the_model_by_itself(pipeline):
    """cfg_scale 1 against the parts put together here, without a sentence left out."""
    found = pipeline.generate(TEXTS, LENGTHS, temperature=0.0, cfg_scale=1.0)
    for motion, text in zip(found, TEXTS):
        features, count = pipeline.text_encoder([text]), len(motion.ids)
        row = make_rows(torch.full((1, count), mask_id(16)), torch.tensor([count]), 16, count + 1)
        ids = sample(
            lambda ids, f=features: pipeline.transformer(ids, f.sentence, f.words),
            row, torch.tensor([count]), 16, temperature=0.0,
        )  # fmt: skip
        assert motion.ids.tolist() == ids[0, :count].tolist()


def test_guidance(pipeline):
    """Just above 1 it changes nothing yet; well above it does; at 0 every sentence is as good as none."""
    plain, near, strong = (
        pipeline.generate(TEXTS, LENGTHS, temperature=0.0, cfg_scale=scale) for scale in (1.0, 1.000001, 4.0)
    )
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(plain, near))
    assert any(not np.array_equal(a.ids, b.ids) for a, b in zip(plain, strong))
    none = pipeline.generate(["a person runs", "", "someone bows"], [60] * 3, temperature=0.0, cfg_scale=0.0)
    assert same(none[0], none[1]) and same(none[1], none[2])


def test_seeds(pipeline):
    first, again, other = (pipeline.generate(TEXTS[:2], [60, 41], seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.joints, b.joints) for a, b in zip(first, again))
    assert all(not np.array_equal(a.ids, b.ids) for a, b in zip(first, other))


def test_repeated_sentences_get_different_motions(pipeline):
    text = "a person walks forward"
    motions = pipeline.generate([text, "a person runs", text, text], [60] * 4)
    assert len({motion.ids.tobytes() for motion in motions}) == 4
    alone = pipeline.generate([text] * 2, [60] * 2)
    assert same(motions[0], alone[0]) and same(motions[2], alone[1])


# --- Lengths


def test_lengths_out_of_range(pipeline):
    assert (pipeline.shortest, pipeline.longest) == (4, 76)
    for length in (0, 3, 77, 5000, -8):
        with pytest.raises(ValueError, match=f"from 4 to 76 frames, not {length}"):
            pipeline.generate(["walk", "run"], [60, length])
    assert [len(m.joints) for m in pipeline.generate(["walk", "run"], [4, 76])] == [4, 76]
    with pytest.raises(ValueError, match="2 sentences need as many lengths, not 1"):
        pipeline.generate(["walk", "run"], [60])


def test_predicted_lengths(pipeline, files):
    lengths = pipeline.predict_lengths(TEXTS)
    assert all(BANDAI.min_frames <= length <= pipeline.longest and length % 4 == 0 for length in lengths)
    assert [len(motion.joints) for motion in pipeline.generate(TEXTS)] == lengths
    without = MotionPipeline.load(files.vq, files.trans, "cpu")
    with pytest.raises(ValueError, match="give --length"):
        without.generate(["walk"])
    assert len(without.generate(["walk"], [8])) == 1


def test_no_sentences(pipeline):
    assert pipeline.generate([], []) == []


# --- Files that do not belong together


def test_another_tokenizer(files, tmp_path):
    def refused(message, vq, trans=files.trans, **options):
        with pytest.raises(ValueError, match=message):
            MotionPipeline.load(vq, trans, "cpu", **options)

    other = tmp_path / "vq.pth"
    save_checkpoint(other, vqvae_checkpoint(tiny_vq(codes=32), "bandai"))
    refused(r"16 x 4.*32 x 4", other)
    save_checkpoint(other, vqvae_checkpoint(tiny_vq(code_dim=8), "bandai"))
    refused(r"16 x 4.*16 x 8", other)
    save_checkpoint(other, vqvae_checkpoint(tiny_vq(seed=1), "bandai"))
    refused("another tokenizer", other)
    kit = tiny_vq(KIT)
    kit.quantizer.codebook.copy_(tiny_vq().quantizer.codebook)
    save_checkpoint(other, vqvae_checkpoint(kit, "kit"))
    refused("251 features, bandai has 263", other)
    refused("no stage-1 checkpoint", files.trans)
    refused("no stage-2 checkpoint", files.vq, files.vq)
    refused("no length model", files.vq, length=files.vq)
    refused("there is no checkpoint", tmp_path / "nowhere.pth")


def test_half_precision_files_belong_together(files, tmp_path):
    """What ships is halved: a codebook that went through float16 is still the same one."""
    content = load_checkpoint(files.vq)
    content["net"] = {name: x.half() if x.is_floating_point() else x for name, x in content["net"].items()}
    save_checkpoint(tmp_path / "vq.pth", content)
    pipeline = MotionPipeline.load(tmp_path / "vq.pth", files.trans, "cpu", precision="32")
    assert pipeline.generate(["walk"], [8])[0].features.dtype == np.float32


def test_the_dataset(files, tmp_path):
    with pytest.raises(ValueError, match="trained on bandai, not on kit"):
        MotionPipeline.load(files.vq, files.trans, "cpu", dataname="kit")
    with pytest.raises(ValueError, match="unknown dataset"):
        MotionPipeline.load(files.vq, files.trans, "cpu", dataname="nope")
    assert MotionPipeline.load(files.vq, files.trans, "cpu", dataname="bandai").spec == BANDAI
    silent = tmp_path / "trans.pth"
    transformer = tiny_transformer(tiny_vq())
    save_checkpoint(silent, transformer_checkpoint(transformer, tiny_text_encoder().checkpoint(), None))
    assert MotionPipeline.load(files.vq, silent, "cpu").spec == T2M
    assert MotionPipeline.load(files.vq, silent, "cpu", dataname="bandai").spec == BANDAI
    with pytest.raises(ValueError, match="give --dataname"):
        MotionPipeline.load(files.vq, silent, "cpu", dataname="kit")


def test_devices(files):
    with pytest.raises(ValueError, match="device 'toaster'"):
        MotionPipeline.load(files.vq, files.trans, "toaster")


def test_batches_are_of_like_length_and_hold_every_row_once(pipeline):
    tokens = [19, 3, 17, 8, 8, 40, 9, 18, 40, 41, 46] + [12] * (BATCH + 1)
    found = pipeline.batches(tokens, [str(i % 3) for i in range(len(tokens))])
    assert sorted(i for rows in found for i in rows) == list(range(len(tokens)))
    sizes = [[tokens[i] for i in rows] for rows in found]
    assert sizes == [[3], [8, 8, 9], [12] * BATCH, [12], [17, 18, 19], [40, 40, 41], [46]]
    texts = [i % 3 for i in found[2]]
    assert texts == sorted(texts), "like sentences together"
    assert pipeline.batches([], []) == []
