"""What is measured of motions: in batches and remembered, as one at a time and anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.evaluation_speed import plain_rows
from dataset.evaluation import embed_batches
from dataset.humanml import read_split
from dataset.spec import BANDAI, KIT, T2M
from models import judge as judging
from models.judge import (
    Judge,
    Look,
    Sampling,
    Several,
    bodies,
    body_figures,
    draw_repeat,
    edit_rows,
    figures_of,
    generation_rows,
    judge_path,
    load_judge,
    load_validation,
    made_frames,
    real_motion,
    reconstruct,
    reconstruction_rows,
    remembered,
    seam_figures,
)
from models.pipeline import MotionPipeline
from tests.dataset.test_evaluation import write_glove
from tests.tiny import make_checkpoints, make_dataset, make_judge, tiny_judge
from utils import metrics
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.motion import features_to_joints, plant_feet


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return read_split(BANDAI, make_dataset(tmp_path_factory.mktemp("data") / "bandai", BANDAI, 2, 2, 40), "test")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    found = make_checkpoints(tmp_path_factory.mktemp("tiny"))
    return MotionPipeline.load(found.vq, found.trans, "cpu", found.length)


@pytest.fixture
def judge():
    model = tiny_judge()
    return Judge(model, model.words, BANDAI)


@pytest.fixture
def draw(clips, pipeline):
    return draw_repeat(clips, 0, 0, pipeline.longest)


def alike(a, b, atol=1e-4):
    assert a.keys() == b.keys()
    for row in a:
        assert a[row] == pytest.approx(b[row], abs=atol, rel=atol), row


# --- Draws ------------------------------------------------------------------------------------------------------------


def test_a_draw_is_of_whole_batches_and_its_own(clips):
    first, second, again = (draw_repeat(clips, 5, repeat) for repeat in (0, 1, 0))
    assert len(first.items) == len(first.again) == 32
    assert first == again and first != second and first.seed != second.seed
    assert draw_repeat(clips, 6, 0) != first
    assert first.items != first.again, "the real row compares two draws"
    assert all(item.frames <= 40 for item in draw_repeat(clips, 5, 0, longest=40).items)
    with pytest.raises(ValueError, match="too few clips: 32 are needed for a batch, there are 31"):
        draw_repeat(clips[:31], 0)


def test_remembered():
    memory, asked = {"b": 20}, []

    def compute(places):
        asked.append(places)
        return [10 * place for place in places]

    assert remembered(memory, ["a", "b", "c", "a"], compute) == [0, 20, 20, 0]
    assert sorted(asked[0]) == [0, 2], "each once, at its first place"
    assert remembered(memory, ["c", "a"], compute) == [20, 0] and len(asked) == 1


# --- The judge --------------------------------------------------------------------------------------------------------


def test_items_as_the_trainer_of_the_judge_embeds_them(judge, draw):
    text, motion = embed_batches(judge.model, [draw.items], judge.words)
    np.testing.assert_allclose(judge.read([item.caption for item in draw.items]), text, atol=1e-5)
    np.testing.assert_allclose(judge.look_at(draw.items).embedding, motion, atol=1e-5)


def test_together_as_alone(judge, draw):
    motions = [real_motion(item) for item in draw.items[:7]]
    together = judge.look(motions)
    for i, motion in enumerate(motions):
        alone = judge.look([motion])
        np.testing.assert_allclose(together.embedding[i], alone.embedding[0], atol=1e-5)
        np.testing.assert_allclose(together.body[i], alone.body[0], rtol=1e-4)


def test_what_was_seen_is_not_looked_at_again(judge, draw, monkeypatch):
    captions = [item.caption for item in draw.items]
    first, read = judge.look_at(draw.items), judge.read(captions)
    monkeypatch.setattr(Judge, "look", None)
    monkeypatch.setattr(Judge, "read_anew", None)
    again = judge.look_at(draw.items[::-1])
    np.testing.assert_array_equal(again.embedding, first.embedding[::-1])
    np.testing.assert_array_equal(again.body, first.body[::-1])
    np.testing.assert_array_equal(judge.read(captions), read)
    other = [replace(draw.items[0], start=draw.items[0].start, frames=draw.items[0].frames - 4)]
    with pytest.raises(TypeError):
        judge.look_at(other), "another cut is another motion"


@pytest.mark.parametrize("spec", [BANDAI, KIT], ids=lambda spec: spec.name)
def test_bodies_one_at_a_time(spec):
    generator = torch.Generator().manual_seed(0)
    motions = [0.1 * torch.randn(frames, spec.dim, generator=generator) for frames in (9, 30, 17)]
    joints = [features_to_joints(motion, spec).numpy() * spec.metres_per_unit for motion in motions]
    figures = body_figures(bodies(motions, spec))
    assert figures["jerk"] == pytest.approx(np.mean([metrics.jerk(x, spec.fps) for x in joints]), rel=1e-4)
    floor = np.mean([metrics.floor_penetration(x, spec) for x in joints])
    assert figures["floor_penetration"] == pytest.approx(floor, rel=1e-4)
    speeds = np.concatenate([metrics.contact_speeds(x, spec) for x in joints])
    assert figures["foot_sliding"] == pytest.approx(speeds.mean() if len(speeds) else np.nan, rel=1e-3, nan_ok=True)


def test_figures_are_the_metrics(judge):
    rng = np.random.default_rng(0)
    text, motion, real = (rng.standard_normal((64, 8)) for _ in range(3))
    body = np.ones((64, 4))
    figures = figures_of(text, Look(motion, body), Look(real, body), seed=3)
    assert [figures[f"r_precision_{k}"] for k in (1, 2, 3)] == metrics.r_precision(text, motion).tolist()
    assert figures["fid"] == metrics.fid(real, motion)
    assert figures["matching_score"] == metrics.matching_score(text, motion)
    assert figures["diversity"] == metrics.diversity(motion, generator=np.random.default_rng(3))
    wide = (rng.standard_normal((64, 64)) for _ in range(3))
    text, motion, real = wide
    assert "fid" not in figures_of(text, Look(motion, body), Look(real, body)), "64 samples for 64 numbers"


# --- Text to motion ---------------------------------------------------------------------------------------------------


def test_a_repeat_is_what_a_plain_loop_gives(judge, pipeline, draw):
    fast = generation_rows(judge, pipeline, draw, Sampling(feet=True))
    model = tiny_judge()
    slow = plain_rows(Judge(model, model.words, BANDAI), pipeline, draw, True, pipeline.transformer.config.row_length)
    assert list(fast) == ["real", "generated"] and "multimodality" not in fast["generated"]
    alike(fast, slow)


def test_same_seed_same_figures(judge, pipeline, clips, draw):
    several = Several(4, 5, 10)
    first, again = (generation_rows(judge, pipeline, draw, Sampling(), several) for _ in range(2))
    assert first == again
    other = generation_rows(judge, pipeline, draw_repeat(clips, 1, 0, pipeline.longest), Sampling(), several)
    assert other["generated"] != first["generated"]
    without = generation_rows(judge, pipeline, draw, Sampling(), Several(texts=0))
    first["generated"].pop("multimodality")
    alike(without, first)


def test_multimodality_is_nought_where_all_motions_are_alike(judge, pipeline, draw):
    rows = generation_rows(judge, pipeline, draw, Sampling(temperature=0.0), Several(3, 5, 10))
    assert rows["generated"]["multimodality"] == pytest.approx(0, abs=1e-5)
    assert generation_rows(judge, pipeline, draw, Sampling(), Several(3, 5, 10))["generated"]["multimodality"] > 5e-4


def test_lengths(judge, pipeline, draw, monkeypatch):
    asked, make = [], MotionPipeline.generate_features

    def spy(self, texts, lengths, *more):
        asked.append(lengths)
        return make(self, texts, lengths, *more)

    monkeypatch.setattr(MotionPipeline, "generate_features", spy)
    generation_rows(judge, pipeline, draw, Sampling())
    generation_rows(judge, pipeline, draw, Sampling(), predicted_lengths=True)
    assert asked == [[item.frames for item in draw.items], pipeline.predict_lengths(draw.texts)]


# --- The tokenizer ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_reconstruction_one_at_a_time(judge, pipeline, draw, monkeypatch):
    tokenizer, memory = pipeline.tokenizer, {}
    real = [real_motion(item) for item in draw.items]
    alone = [tokenizer.denormalise(tokenizer.decode(tokenizer.encode(tokenizer.normalise(x)[None])))[0] for x in real]
    for a, b in zip(alone, reconstruct(tokenizer, real)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    rows = reconstruction_rows(judge, tokenizer, draw, False, memory)
    assert list(rows) == ["real", "reconstructed"]
    pairs = [[features_to_joints(x, BANDAI).numpy() for x in pair] for pair in zip(alone, real)]
    for name, aligned in (("mpjpe", True), ("mpjpe_world", False)):
        expected = np.mean([metrics.mpjpe(*pair, root_aligned=aligned) for pair in pairs])
        assert rows["reconstructed"][name] == pytest.approx(expected, rel=1e-3)
    monkeypatch.setattr(judging, "reconstruct", None)
    assert reconstruction_rows(judge, tokenizer, draw, False, memory) == rows


def test_feet_of_reconstructions(judge, pipeline, draw):
    alone = bodies([plant_feet(x, BANDAI) for x in reconstruct(pipeline.tokenizer, map_real(draw))], BANDAI)
    rows = reconstruction_rows(judge, pipeline.tokenizer, draw, True, {})
    assert rows["reconstructed"]["foot_sliding"] == pytest.approx(body_figures(alone)["foot_sliding"], nan_ok=True)


def map_real(draw):
    return [real_motion(item) for item in draw.items]


# --- Edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["inbetween", "outpaint", "prefix", "suffix"])
def test_edits(judge, pipeline, draw, task):
    rows = edit_rows(judge, pipeline, task, draw, Sampling())
    assert list(rows) == ["real", "edited", "real, made part", "edited, made part"]
    assert rows["edited"]["fid"] > 0 and rows["edited, made part"]["fid"] > 0 and "fid" not in rows["real, made part"]
    seams = {row for row, figures in rows.items() if "seam_step" in figures}
    assert seams == {"real", "edited"} and all(np.isfinite(rows[row]["seam_velocity_change"]) for row in seams)
    untouched = figures_of(
        judge.read([item.caption for item in draw.items]),
        judge.look_at(draw.items),
        judge.look_at(draw.again),
        draw.seed,
    )
    assert untouched.items() <= rows["real"].items()


def test_seams_by_hand():
    frames, fps = 20, 10.0
    even = np.zeros((frames, 22, 3))
    even[..., 0] = 0.01 * np.arange(frames)[:, None]  # 10 mm a frame
    assert seam_figures([even], [[(8, 12)]], fps) == {
        "seam_step": pytest.approx(10.0),
        "seam_velocity_change": pytest.approx(0.0, abs=1e-9),
    }
    jump = even.copy()
    jump[8:, :, 0] += 0.03  # at one seam of two: 40 mm there
    figures = seam_figures([jump], [[(8, 12)]], fps)
    assert figures["seam_step"] == pytest.approx((40 + 10) / 2)
    assert figures["seam_velocity_change"] == pytest.approx(0.5 * 100 * fps * 0.03)
    assert seam_figures([jump], [[(0, 8)]], fps)["seam_step"] == pytest.approx(40.0), "the motion's ends are no seams"


def test_made_frames():
    motion = torch.arange(10.0)[:, None]
    assert made_frames([motion], [[(0, 2), (7, 10)]])[0][:, 0].tolist() == [0, 1, 7, 8, 9]


# --- Files ------------------------------------------------------------------------------------------------------------


def test_where_a_judge_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(judge_path(T2M)) == "checkpoints/t2m/text_mot_match/model/finest.tar"
    assert str(judge_path(KIT)) == "checkpoints/kit/text_mot_match/model/finest.tar"
    assert judge_path(BANDAI).parts[-2:] == ("pretrained", "evaluator.pth")
    with pytest.raises(ValueError, match=r"no judge checkpoints/t2m.*download_extractor.sh"):
        load_judge(T2M)
    with pytest.raises(ValueError, match=r"no judge absent.pth: train_evaluator.py --dataname bandai"):
        load_judge(BANDAI, "absent.pth")


def test_judges_of_others(tmp_path):
    mine = make_judge(tmp_path / "mine.pth")
    assert load_judge(BANDAI, mine).least == 9
    with pytest.raises(ValueError, match=r"mine.pth judges bandai of 263 features, kit has 251"):
        load_judge(KIT, mine)
    with pytest.raises(ValueError, match="judges bandai"):
        load_judge(T2M, mine)
    save_checkpoint(tmp_path / "nothing.pth", {"net": {}})
    with pytest.raises(ValueError, match="no judge"):
        load_judge(BANDAI, tmp_path / "nothing.pth")


def test_a_published_judge(tmp_path, monkeypatch):
    """Its statistics are the published ones, its words GloVe's."""
    monkeypatch.chdir(tmp_path)
    content = load_checkpoint(make_judge(tmp_path / "judge.pth", T2M))
    kept = {name: content[name] for name in ("movement_encoder", "text_encoder", "motion_encoder")}
    path = judge_path(T2M)
    path.parent.mkdir(parents=True)
    save_checkpoint(path, kept)
    with pytest.raises(ValueError, match=r"download_extractor.sh"):
        load_judge(T2M)
    folder = tmp_path / "checkpoints" / T2M.published_statistics
    folder.mkdir(parents=True)
    for name, value in (("mean", 1.0), ("std", 2.0)):
        np.save(folder / f"{name}.npy", np.full(263, value, np.float32))
    with pytest.raises(ValueError, match=r"download_glove.sh"):
        load_judge(T2M)
    with pytest.raises(ValueError, match="vectors of 6 numbers and 15 classes, not 4"):
        load_judge(T2M, glove=write_glove(tmp_path / "glove"))
    wide = write_glove(tmp_path / "glove", data=np.ones((5, 6)))
    judge = load_judge(T2M, glove=wide)
    assert judge.model.mean[0] == 1 and judge.model.std[0] == 2 and judge.words.words[0] == "unk"


def test_validation(tmp_path, clips):
    path = make_judge(tmp_path / "judge.pth")
    found, note = load_validation(BANDAI, clips, path)
    assert note == "a judge looks at 32 validation motions"
    motions = [real_motion(item) for item in found.draw.items]
    assert found.figures(motions)["fid"] == pytest.approx(0, abs=1e-6), "real motion, as it is"
    assert found.figures([motion / 0 for motion in motions]) == {}
    found, note = load_validation(BANDAI, clips, make_judge(tmp_path / "wide.pth", embedding=40))
    assert "too few for FID, which takes 41" in note and "fid" not in found.figures(motions)
    assert load_validation(KIT, clips)[0] is None and "checkpoints/kit" in load_validation(KIT, clips)[1]
    with pytest.raises(ValueError, match="absent"):
        load_validation(BANDAI, clips, "absent.pth")
    with pytest.raises(ValueError, match="too few clips"):
        load_validation(BANDAI, clips[:9], path)
