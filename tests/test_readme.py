"""The commands of the README and of the model card are the scripts' own: every script is there and knows its flags."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "pretrained/README.md")


def commands() -> list[list[str]]:
    """Words of every indented line of the pages that runs something, continued lines joined."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text().replace("\\\n", " ")
        for line in re.findall(r"^    (\S.*)$", text, re.M):
            words = shlex.split(line, comments=True)
            if words and (words[0].endswith("python") or words[0] in ("make", "bash")):
                found.append(words)
    return found


COMMANDS = commands()


def ids(words: list[str]) -> str:
    return " ".join(words)[:60]


def test_there_are_commands():
    scripts = {word for words in COMMANDS for word in words}
    assert {"demo", "test", "generate.py", "train_vq.py", "train_t2m_trans.py", "train_length.py"} <= scripts


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0].endswith("python")], ids=ids)
def test_python_commands_know_their_flags(words, monkeypatch, capsys):
    run = (lambda: runpy.run_module(words[2], run_name="__main__")) if words[1] == "-m" else None
    run = run or (lambda: runpy.run_path(str(ROOT / words[1]), run_name="__main__"))
    monkeypatch.setattr(sys, "argv", [words[1], "--help"])
    with pytest.raises(SystemExit) as ended:
        run()
    known = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    assert ended.value.code == 0
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "make"], ids=ids)
def test_make_targets_exist(words):
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] == "bash"], ids=ids)
def test_shell_scripts_parse(words):
    assert subprocess.run(["bash", "-n", words[1]], cwd=ROOT, check=False).returncode == 0
