"""Runs that were stopped, in every way, go on with --resume as if they never had been."""

import os
import signal
import subprocess
import sys
import time

import pytest
from matplotlib.figure import Figure

import train_t2m_trans
import train_vq
from dataset.spec import BANDAI
from tests.conftest import ROOT
from tests.kill_resume import TRANS, VQ, differences, said, scalars
from tests.tiny import contents, make_checkpoints, make_dataset, refusal, run_script
from utils.checkpoint import load_checkpoint

LENGTH = 12  # steps
OFTEN = ["--print-iter", "2", "--eval-iter", "5", "--save-iter", "4"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """OUT_DIR, and of each stage its script, flags and where it writes; a run "alone" of each is there."""
    out = tmp_path_factory.mktemp("resume")
    data, tiny = make_dataset(out / "data", BANDAI), make_checkpoints(out / "tiny")
    common = ["--dataname", "bandai", "--data-root", data, "--out-dir", out]
    found = {
        "vq": (train_vq, [*common, *VQ, *OFTEN], out / "vq"),
        "trans": (train_t2m_trans, [*common, *TRANS, *OFTEN, "--resume-pth", tiny.vq], out),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_vq, "motion_picture", lambda *_: Figure(figsize=(1, 1)))
        for script, flags, _ in found.values():
            run_script(script, *flags, "--total-iter", LENGTH, "--exp-name", "alone")
    return found


def stopped_at(monkeypatch, script, when, number):
    """Makes a script get a signal in the midst of a step."""
    real, sent = script.learning_rate, []

    def learning_rate(step, *rest):
        if step == when and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return real(step, *rest)

    monkeypatch.setattr(script, "learning_rate", learning_rate)


def test_killed_at_random_moments():
    command = [sys.executable, "-m", "tests.kill_resume", "--kills", "2", "--steps", "30", "--longest", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("all the same, to the bit\n"), done.stdout


@pytest.mark.parametrize("stage, number", [("vq", signal.SIGTERM), ("trans", signal.SIGINT)])
def test_a_signal_saves_and_ends(stages, monkeypatch, capsys, stage, number):
    """Between two regular states; the status is the shell's for a process that a signal ended."""
    script, flags, folder = stages[stage]
    name = f"signal-{number}"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stopped_at(patch, script, 7, number)
        with pytest.raises(SystemExit) as ended:
            run_script(script, *flags, "--total-iter", LENGTH, "--exp-name", name)
    assert ended.value.code == 128 + number and signal.getsignal(number) is before
    assert load_checkpoint(folder / name / "state.pth")["step"] == 7
    assert (folder / name / "net_last.pth").exists()
    assert f"stopped after step 7 by {number.name}" in capsys.readouterr().out
    kept = load_checkpoint(folder / name / "state.pth")["model"]
    message = refusal(capsys, script, *flags, "--total-iter", LENGTH, "--exp-name", name)
    assert f"stopped after step 7 of {LENGTH}" in message and "--resume" in message, "it would be lost without a word"
    assert all((kept[k] == value).all() for k, value in load_checkpoint(folder / name / "state.pth")["model"].items())
    run_script(script, *flags, "--total-iter", LENGTH, "--exp-name", name, "--resume")
    log = folder / name / "run.log"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "stopped after" not in line))
    assert differences(folder / "alone", folder / name) == []


@pytest.mark.parametrize("stage", ["vq", "trans"])
def test_a_longer_run_is_a_finished_one_gone_on_with(stages, stage):
    script, flags, folder = stages[stage]
    for name, length, *more in (("on", 6), ("on", LENGTH, "--resume"), ("on", LENGTH, "--resume")):
        run_script(script, *flags, "--total-iter", length, "--exp-name", name, *more)
        time.sleep(1.1)  # TensorBoard reads files in the order of their names: seconds, and then, as text, a count
    kept, whole = (scalars(folder / name) for name in ("on", "alone"))
    train = [tag for tag in whole if tag.startswith("train/")]
    assert train and all(kept[tag] == whole[tag] for tag in train)
    states = [load_checkpoint(folder / name / "state.pth") for name in ("on", "alone")]
    assert all((states[0]["model"][name] == value).all() for name, value in states[1]["model"].items())
    assert len(said(folder / "on")) == len(set(said(folder / "on")))


def test_where_there_is_no_state_it_begins(stages):
    script, flags, folder = stages["vq"]
    run_script(script, *flags, "--total-iter", LENGTH, "--exp-name", "begun", "--resume")
    assert differences(folder / "alone", folder / "begun") == []


def test_other_flags_are_refused(stages, capsys):
    """Those that change what is learned; the run stays as it was."""
    script, flags, folder = stages["vq"]
    given = [*flags, "--total-iter", LENGTH, "--exp-name", "alone", "--resume"]
    before = contents(folder / "alone")
    assert "--lr was 0.0002, not 0.1" in refusal(capsys, script, *given, "--lr", "0.1")
    assert "--batch-size" in refusal(capsys, script, *given, "--batch-size", "3")
    assert contents(folder / "alone") == before


def test_a_broken_state_is_refused(stages, capsys):
    script, flags, folder = stages["vq"]
    broken = folder / "broken/state.pth"
    broken.parent.mkdir()
    for content in (
        b"",
        (folder / "alone/state.pth").read_bytes()[:5000],
        (folder / "alone/net_last.pth").read_bytes(),
    ):
        broken.write_bytes(content)
        assert str(broken) in refusal(capsys, script, *flags, "--exp-name", "broken", "--resume")
