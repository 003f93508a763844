"""Command lines from a dataclass."""

from dataclasses import dataclass

import pytest

from options.flags import flag, given_in_order, parse, word
from options.option_generate import GenerateOptions
from options.option_vq import VQOptions


@dataclass(frozen=True)
class Options:
    warm_up_iter: int = flag(1000, "steps")
    lr: float = flag(2e-4, "rate")
    sep_uplow: bool = flag(False, "two parts")
    cosine: bool = flag(True, "falls")
    lr_scheduler: tuple[int, ...] = flag((200_000,), "steps")
    text: tuple[str, ...] = flag((), "captions")
    kind: str = flag("l1", "loss", choices=("l1", "l2"))
    resume_pth: str | None = flag(None, "file")
    length: int | None = flag(None, "frames, 100 % of them")


def test_defaults():
    assert parse(Options, None, []) == Options()


def test_every_kind_of_flag():
    words = "--warm-up-iter 5 --lr 1e-3 --sep-uplow --no-cosine --lr-scheduler 10 20 --kind l2 --length 60"
    expected = Options(5, 1e-3, True, False, (10, 20), ("a man walks", "b"), "l2", "a.pth", 60)
    assert parse(Options, None, [*words.split(), "--resume-pth", "a.pth", "--text", "a man walks", "b"]) == expected


def test_repeated_flags_add_up():
    assert parse(Options, None, ["--lr-scheduler", "10", "20", "--lr-scheduler", "30"]).lr_scheduler == (10, 20, 30)
    assert parse(Options, None, ["--text", "a b", "--text", "c"]).text == ("a b", "c")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--warm-up-iter five", "--warm-up-iter"),
        ("--warm-up-iter 5.5", "--warm-up-iter"),
        ("--warm-up-iter", "--warm-up-iter"),
        ("--lr fast", "--lr"),
        ("--kind l3", "l1"),
        ("--lr-scheduler 10 x", "--lr-scheduler"),
        ("--lr-scheduler", "--lr-scheduler"),
        ("--length long", "--length"),
        ("--warm_up_iter 5", "--warm_up_iter"),
        ("--nonsense", "--nonsense"),
        ("--warm-up-itre 5", "did you mean --warm-up-iter?"),
        ("words", "words"),
        ("--sep-uplow yes", "yes"),
    ],
)
def test_wrong_flags_end_with_status_2(words, named, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Options, None, words.split())
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and named in lines[0]


@pytest.mark.parametrize("options", [Options, VQOptions])
def test_help_names_every_flag(options, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(options, "What it does.", ["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name in options.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in shown
    assert "What it does." in shown and "default" in shown


def test_help_shows_last_what_checkpoints_know(capsys):
    with pytest.raises(SystemExit):
        parse(GenerateOptions, None, ["--help"])
    shown = capsys.readouterr().out
    assert shown.rindex("--out-dir") < shown.rindex("that checkpoints make unnecessary:") < shown.rindex("--nb-code")


def test_published_flags_of_stage_1():
    """design.md: published flags keep their names."""
    published = (
        "dataname batch-size window-size total-iter warm-up-iter lr lr-scheduler gamma weight-decay commit loss-vel"
        " recons-loss code-dim nb-code mu down-t stride-t width depth dilation-growth-rate output-emb-width vq-act"
        " vq-norm quantizer beta resume-pth out-dir exp-name print-iter eval-iter seed sep-uplow"
    )
    assert {name.replace("-", "_") for name in published.split()} <= VQOptions.__dataclass_fields__.keys()
    options = parse(VQOptions, None, ["--dataname", "kit", "--batch-size", "8", "--lr-scheduler", "5", "9"])
    assert (options.dataname, options.batch_size, options.lr_scheduler) == ("kit", 8, (5, 9))


@dataclass(frozen=True)
class Task:
    task: str = word(("prefix", "suffix"), "what is made")
    text: tuple[str, ...] = flag((), "captions")
    text_file: str | None = flag(None, "file")
    length: tuple[str, ...] = flag((), "frames")


def test_a_word_has_no_flag():
    assert parse(Task, None, ["prefix", "--text", "a"]) == Task("prefix", ("a",))


@pytest.mark.parametrize("words", ["", "--text a", "infix", "prefix suffix"])
def test_a_word_has_to_be_and_to_be_one_of_the_choices(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Task, None, words.split())
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and len(lines) == 1 and lines[0].startswith("error: ")


def test_flags_in_the_order_they_were_given():
    words = [
        "prefix",
        "--text",
        "a b",
        "c",
        "--length=8",
        "--text-file",
        "x",
        "--text=-d",
        "--seed",
        "3",
        "--length",
        "9",
    ]
    expected = [("text", ["a b", "c"]), ("length", ["8"]), ("text", ["-d"]), ("length", ["9"])]
    assert given_in_order(("text", "length"), words) == expected
    assert given_in_order(("text", "length"), ["--seed", "3"]) == []
