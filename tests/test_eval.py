"""GPT_eval_multi.py from the command line, and the judge that looks on while models train."""

import json
import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import GPT_eval_multi
import train_t2m_trans
import train_vq
from dataset.spec import BANDAI, KIT
from models.vqvae import load_vqvae
from tests.test_train import TRANS, VQ
from tests.tiny import contents, make_checkpoints, make_dataset, make_judge, refusal, run_script, tiny_upper_vq
from utils.checkpoint import load_checkpoint
from utils.metrics import mean_interval

FILES = {"config.json", "metrics.json", "run.log"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "bandai", BANDAI, 6, 34, 36)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return make_judge(tmp_path_factory.mktemp("judge") / "judge.pth")


@pytest.fixture
def given(data, tiny, judge, tmp_path):
    return [
        *tiny.flags, "--evaluator", judge, "--data-root", data, "--out-dir", tmp_path, "--device", "cpu",
        "--precision", "32", "--repeat", 2, "--mm-texts", 2, "--mm-motions", 5,
    ]  # fmt: skip


@pytest.fixture
def evaluate(given, tmp_path):
    """The record of a run with these flags."""

    def run(*flags):
        run_script(GPT_eval_multi, *given, *flags)
        return json.loads((tmp_path / "eval/eval_name/metrics.json").read_text())

    return run


def test_mean_and_interval():
    assert mean_interval([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3.0, 1.96 * np.sqrt(3.5) / 2))
    mean, half = mean_interval([2.0])
    assert mean == 2.0 and np.isnan(half), "one repeat says nothing of the others"


# --- A run ------------------------------------------------------------------------------------------------------------


def test_what_a_run_writes(evaluate, tmp_path, capsys):
    record = evaluate("--num-local-layer", 1, "--nb-code", 16)
    printed = capsys.readouterr()
    files = set(contents(tmp_path / "eval/eval_name"))
    events = {name for name in files if name.startswith("events.out.tfevents")}
    assert files - events == FILES and len(events) == 1 and [p.name for p in tmp_path.iterdir()] == ["eval"]
    assert printed.err == "" and list(record["rows"]) == ["real", "generated"]
    assert (record["dataset"], record["motions"]) == ("bandai", 32)
    lines = printed.out.splitlines()
    heading = next(line.split() for line in lines if "MM-Dist" in line and "FID" in line and "repeat" not in line)
    assert heading[:7] == ["R1", "R2", "R3", "FID", "MM-Dist", "Diversity", "MModality"]
    (real,) = (line for line in lines if line.startswith("real"))
    assert real.split()[7] == "-", "real motion comes once for a text"
    generated = record["rows"]["generated"]
    for figure in generated.values():
        assert len(figure["repeats"]) == 2
        assert [figure["mean"], figure["interval"]] == pytest.approx(
            list(mean_interval(figure["repeats"])), nan_ok=True
        )
    (shown,) = (line for line in lines if line.startswith("generated"))
    assert shown.split()[4] == f"{generated['fid']['mean']:.3f}"
    log = (tmp_path / "eval/eval_name/run.log").read_text().splitlines()
    assert [line[20:] for line in log] == lines
    scalars = EventAccumulator(str(tmp_path / "eval/eval_name")).Reload()
    values = [event.value for event in scalars.Scalars("generated/fid")]
    assert values == pytest.approx(generated["fid"]["repeats"], rel=1e-5)


def test_same_seed_same_figures_and_each_repeat_its_own(evaluate):
    first, again, other = evaluate()["rows"], evaluate()["rows"], evaluate("--seed", 5)["rows"]
    assert first == again and other != first
    a, b = first["generated"]["fid"]["repeats"]
    assert a != b
    one = evaluate("--repeat", 1)["rows"]["generated"]["fid"]
    assert one["repeats"] == [a] and one["interval"] is None


def test_ways_to_evaluate(evaluate):
    usual = evaluate("--repeat", 1)["rows"]["generated"]
    for flags in (
        ["--no-feet"], ["--temperature", 0], ["--cfg-scale", 1], ["--steps", 3], ["--length-source", "predicted"],
    ):  # fmt: skip
        changed = evaluate("--repeat", 1, *flags)["rows"]["generated"]
        assert changed["fid"] != usual["fid"], flags
    assert "multimodality" not in evaluate("--repeat", 1, "--mm-texts", 0)["rows"]["generated"]
    assert evaluate("--repeat", 1, "--split", "val")["rows"]["real"] != usual


def test_feet_are_planted_unless_published_figures_are_without(evaluate, capsys, tmp_path, data, tiny, judge):
    evaluate("--repeat", 1)
    assert "feet planted: True" in capsys.readouterr().out
    given = ["--data-root", data, "--out-dir", tmp_path, "--evaluator", judge, "--repeat", 1]
    run_script(GPT_eval_multi, "--stage", "vq", "--resume-pth", tiny.vq, *given)
    assert "feet planted: False" in capsys.readouterr().out


def test_no_fid_of_too_few(evaluate, tmp_path, capsys):
    record = evaluate("--evaluator", make_judge(tmp_path / "wide.pth", embedding=40), "--repeat", 1)
    assert "fid" not in record["rows"]["generated"] and "no FID: it takes 41 motions" in capsys.readouterr().out


def test_the_tokenizer_alone(data, tiny, judge, tmp_path):
    given = ["--data-root", data, "--out-dir", tmp_path, "--evaluator", judge, "--repeat", 2, "--exp-name", "a"]
    run_script(GPT_eval_multi, "--stage", "vq", "--resume-pth", tiny.vq, *given)
    rows = json.loads((tmp_path / "eval/a/metrics.json").read_text())["rows"]
    assert list(rows) == ["real", "reconstructed"] and rows["reconstructed"]["mpjpe"]["mean"] > 1


def test_an_edit(evaluate):
    rows = evaluate("--task", "inbetween", "--repeat", 1)["rows"]
    assert list(rows) == ["real", "edited", "real, made part", "edited, made part"]
    assert {"seam_step", "seam_velocity_change"} <= rows["edited"].keys()


# --- Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(given, tmp_path, capsys):
    """What the script says of flags that cannot be; nothing is written."""

    def ask(*flags):
        message = refusal(capsys, GPT_eval_multi, *given, *flags)
        assert not (tmp_path / "eval").exists()
        return message

    return ask


def test_flags_that_cannot_be(refused, tmp_path):
    assert "--repeat must be 1 or more" in refused("--repeat", 0)
    assert "it has all, " in refused("--split", "moon") or "no split 'moon'" in refused("--split", "moon")
    assert "prepare" in refused("--data-root", tmp_path / "absent")
    assert "--dataname out" in refused("--dataname", "kit")
    assert "--num-local-layer 7" in refused("--num-local-layer", 7)
    assert "--mm-pairs" in refused("--mm-pairs", 11)
    assert "--stage" in refused("--stage", "gpt")
    assert "leave --resume-trans out" in refused("--stage", "vq")
    assert "--task" in refused("--task", "inbetween", "--length-source", "predicted")
    assert "device" in refused("--device", "moon")
    assert "--nonsense" in refused("--nonsense")


def test_files_that_cannot_be(refused, tiny, data, tmp_path):
    assert "no stage-1 checkpoint" in refused("--resume-pth", tiny.trans)
    assert "no stage-2 checkpoint" in refused("--resume-trans", tiny.vq)
    assert "absent" in refused("--resume-trans", tmp_path / "absent.pth")
    assert "train_evaluator.py" in refused("--evaluator", tmp_path / "absent.pth")
    assert "no judge" in refused("--evaluator", tiny.vq)
    assert "judges kit of 251" in refused("--evaluator", make_judge(tmp_path / "kit.pth", KIT))
    assert "too few clips: 32 are needed for a batch" in refused("--split", "train")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "test.txt").write_text("")
    assert "no usable clip in its split 'test'" in refused("--data-root", empty)


def test_a_split_whose_files_are_gone(given, tmp_path, capsys, data):
    """What is left out is named on stderr, and then that nothing is left."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/test.txt").write_text("gone\n")
    with pytest.raises(SystemExit) as ended:
        run_script(GPT_eval_multi, *given, "--data-root", tmp_path / "data")
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.err.splitlines()[-1].startswith("error: ")
    assert "no usable clip" in printed.err and "Traceback" not in printed.err


def test_predicted_lengths_need_a_model(given, refused, tiny, data, judge, tmp_path, capsys):
    flags = ["--resume-pth", tiny.vq, "--resume-trans", tiny.trans, "--evaluator", judge, "--data-root", data]
    message = refusal(capsys, GPT_eval_multi, *flags, "--out-dir", tmp_path, "--length-source", "predicted")
    assert "--resume-length" in message


def test_the_upper_body_needs_its_own_weights(refused):
    assert "is a whole-body model" in refused("--task", "upper")


def test_the_upper_body(evaluate, tmp_path):
    """What the lower body's joints miss is what the tokenizer misses of them: no sentence moves a leg."""
    upper = make_checkpoints(tmp_path / "upper", make_vq=tiny_upper_vq)
    found = evaluate("--task", "upper", "--repeat", 1, *upper.flags)["rows"]
    assert list(found) == ["real", "edited"]
    other = evaluate("--task", "upper", "--repeat", 1, "--temperature", 0, *upper.flags)["rows"]
    assert found["edited"]["mpjpe"] == other["edited"]["mpjpe"], "the legs are the same"
    assert found["edited"]["fid"] != other["edited"]["fid"], "the arms are not"


# --- While models train -----------------------------------------------------------------------------------------------


def scalars(folder, name):
    return [event.value for event in EventAccumulator(str(folder)).Reload().Scalars(name)]


def test_the_judge_looks_on(data, judge, tmp_path, capsys):
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path, "--evaluator", judge]
    more = ["--total-iter", "4", "--eval-iter", "2", "--lr", "1e-2", "--precision", "32"]
    run_script(train_vq, *given, *VQ, *more)
    run_script(train_t2m_trans, *given, *TRANS, *more)
    assert capsys.readouterr().out.count("a judge looks at 32 validation motions") == 2
    for folder in (tmp_path / "vq/vq", tmp_path / "trans"):
        found = scalars(folder, "val/fid")
        assert len(found) == 2 and min(found) > 0 and len(scalars(folder, "val/r_precision_3")) == 2
        files = contents(folder)
        assert {"net_last.pth", "net_best.pth", "net_best_fid.pth"} <= files.keys()
        best, last = (load_checkpoint(folder / f"net_{name}.pth") for name in ("best_fid", "last"))
        (kind,) = {"net", "trans"} & last.keys()
        same = all(torch.equal(best[kind][name], last[kind][name]) for name in last[kind])
        assert same == (found[1] < found[0])
    assert load_vqvae(tmp_path / "vq/vq/net_best_fid.pth").config.codes == 16


def test_the_judge_changes_nothing_that_is_learned(data, judge, tmp_path):
    """It draws from generators of its own."""
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path, *TRANS, "--eval-iter", "1"]
    run_script(train_vq, *given[:6], *VQ)
    run_script(train_t2m_trans, *given, "--exp-name", "with", "--evaluator", judge)
    run_script(train_t2m_trans, *given, "--exp-name", "without")
    one, other = (torch.load(tmp_path / name / "net_last.pth")["trans"] for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_no_judge_and_too_few_for_fid(data, tmp_path, capsys):
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path, *VQ]
    run_script(train_vq, *given, "--evaluator", make_judge(tmp_path / "wide.pth", embedding=40))
    assert capsys.readouterr().out.count("too few for FID, which takes 41") == 1
    assert not (tmp_path / "vq/vq/net_best_fid.pth").exists() and scalars(tmp_path / "vq/vq", "val/matching_score")
    assert "absent.pth" in refusal(capsys, train_vq, *given, "--exp-name", "b", "--evaluator", tmp_path / "absent.pth")
    assert not (tmp_path / "vq/b").exists()


def test_a_fresh_clone_has_no_judge(tmp_path, monkeypatch, capsys):
    """KIT's lies in checkpoints/, of the folder one works in: training goes on without, and says so in one line."""
    monkeypatch.chdir(tmp_path)
    folder = make_dataset(tmp_path / "kit", KIT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run_script(train_vq, "--dataname", "kit", "--data-root", folder, *VQ)
    log = (tmp_path / "output/vq/vq/run.log").read_text()
    assert log.count("no judge looks at validation") == 1 and "download_extractor.sh" in log
    assert not (tmp_path / "output/vq/vq/net_best_fid.pth").exists()
