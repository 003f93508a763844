"""The judge's training end to end on made clips whose captions say which they are, and the files it writes."""

import json

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_evaluator
from dataset.evaluation import batches, draw_items, embed_batches, read_glove
from dataset.humanml import read_split
from dataset.normalizer import training_statistics
from dataset.prepare.layout import features_path, text_line, text_path, write_splits, write_statistics
from dataset.spec import BANDAI, KIT
from models.evaluator import PARTS, Evaluator, EvaluatorConfig, evaluator_checkpoint, load_evaluator
from pretrained import export
from tests.dataset.test_evaluation import write_glove
from tests.tiny import contents, make_judge, refusal, run_script
from train_evaluator import contrastive_loss
from utils.checkpoint import halved, load_checkpoint, save_checkpoint
from utils.metrics import r_precision

VERBS = ("walk", "run", "kick", "bow", "wave", "punch", "dance", "slash")
SIZES = [
    "--dim-word", "32", "--dim-coemb", "48", "--dim-text-hidden", "64", "--dim-movement-hidden", "40",
    "--dim-movement", "56", "--dim-motion-hidden", "60",
]  # fmt: skip
FAST = [*SIZES, "--lr", "1e-3", "--device", "cpu"]
STEPS = ["--total-iter", "3", "--print-iter", "1", "--eval-iter", "2"]
CHANCE = 3 / 32


def make_toy(folder, spec, splits=(("train", 64), ("val", 40), ("test", 40))):
    """Clips that differ by their verb in every frame, up to noise."""
    (folder / "new_joint_vecs").mkdir(parents=True)
    (folder / "texts").mkdir()
    rng = np.random.default_rng(0)
    looks = 2 * rng.standard_normal((len(VERBS), spec.dim))
    names = {split: [f"dataset-1_{VERBS[i % 8]}_{split}_{i:03d}" for i in range(count)] for split, count in splits}
    for name in (name for group in names.values() for name in group):
        kind = VERBS.index(name.split("_")[1])
        motion = looks[kind] + rng.standard_normal((rng.integers(40, 60), spec.dim))
        np.save(features_path(folder, name), motion.astype(np.float32))
        tokens = f"a/DET person/NOUN {VERBS[kind]}/VERB", f"{VERBS[kind]}/VERB now/ADV {name}/NOUN"
        text_path(folder, name).write_text("".join(text_line("told", t) + "\n" for t in tokens))
    write_splits(folder, names)
    write_statistics(folder, names["train"], spec)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("data") / "bandai", BANDAI)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a run."""
    out = tmp_path_factory.mktemp("out")
    given = ["--dataname", "bandai", "--data-root", data, "--out-dir", out, "--exp-name", "judge"]
    run_script(train_evaluator, *given, *FAST, "--total-iter", 80, "--print-iter", 20, "--eval-iter", 40)
    assert [path.name for path in out.iterdir()] == ["judge"]
    return out / "judge"


# --- The loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_what_a_plain_reading_gives():
    text, motion = (5 * torch.randn(6, 4, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    matched, mismatched = contrastive_loss(text, motion, 10.0)
    near = [float((text[i] - motion[i]).norm() ** 2) for i in range(6)]
    far = [
        max(0.0, 10.0 - float((text[i] - motion[j]).norm())) ** 2 for i in range(6) for j in range(6) if i != j
    ]  # fmt: skip
    assert matched.item() == pytest.approx(np.mean(near), rel=1e-5)
    assert mismatched.item() == pytest.approx(np.mean(far), rel=1e-5) and 0.0 in far


def test_the_loss_of_pairs_that_coincide_has_a_gradient():
    text = torch.zeros(40, 4, requires_grad=True)
    matched, mismatched = contrastive_loss(text, torch.zeros(40, 4), 10.0)
    assert (matched.item(), mismatched.item()) == (0.0, 100.0)
    (matched + mismatched).backward()
    assert text.grad.isfinite().all()


# --- A run ------------------------------------------------------------------------------------------------------------


def test_it_writes_just_these_files(trained):
    files = set(contents(trained))
    events = {name for name in files if name.startswith("events.out.tfevents")}
    assert len(events) == 1 and files - events == {"net_last.pth", "net_best.pth", "config.json", "run.log"}
    assert json.loads((trained / "config.json").read_text())["dim_coemb"] == 48
    scalars = EventAccumulator(str(trained)).Reload()
    steps = {name: [event.step for event in scalars.Scalars(name)] for name in scalars.Tags()["scalars"]}
    losses, figures = ("matched", "mismatched"), ("r_precision_1", "r_precision_2", "r_precision_3", "matching_score")
    every = {f"train/loss_{name}": [20, 40, 60, 80] for name in losses}
    assert steps == every | {f"val/{name}": [40, 80] for name in figures}
    log = (trained / "run.log").read_text()
    assert "val/r_precision_3" in log and "64 clips, 14 words to learn" in log


def test_what_is_in_the_checkpoint(trained, data):
    content = load_checkpoint(trained / "net_best.pth")
    assert list(content) == [*PARTS, "config", "mean", "std", "dataset", "words", "vectors"]
    assert content["dataset"] == "bandai" and content["words"] == [
        "unk",
        "sos",
        "eos",
        *sorted([*VERBS, "a", "now", "person"]),
    ]
    assert content["vectors"].shape == (14, 32)
    taught = content["vectors"].abs().amin(dim=1) > 0
    assert taught.all(), "words that occur once teach `unk`, which starts at 0"
    for ours, theirs in zip((content["mean"], content["std"]), training_statistics(data, BANDAI)):
        np.testing.assert_array_equal(ours, theirs)
    judge = load_evaluator(trained / "net_best.pth")
    assert judge.has_statistics and torch.equal(judge.std, content["std"])
    assert judge.words.words == tuple(content["words"]) and torch.equal(judge.words.vectors, content["vectors"])
    assert judge.config == EvaluatorConfig(263, 40, 56, 32, 15, 64, 60, 48)


def test_it_learns_what_belongs_together(trained, data):
    judge = load_evaluator(trained / "net_best.pth")
    rng = np.random.default_rng(5)
    drawn = [b for _ in range(4) for b in batches(draw_items(read_split(BANDAI, data, "test"), rng), 32, rng)]
    top = r_precision(*embed_batches(judge, drawn, judge.words))
    assert top[2] > 0.6, "three of the four of its verb in a batch, at best: 0.75"
    torch.manual_seed(0)
    untrained = Evaluator(judge.config).eval()
    assert r_precision(*embed_batches(untrained, drawn, judge.words))[2] < 3 * CHANCE
    best = max(e.value for e in EventAccumulator(str(trained)).Reload().Scalars("val/r_precision_3"))
    assert best > 0.6


def test_half_precision_is_the_same_judge(trained, data, tmp_path):
    content = halved(load_checkpoint(trained / "net_best.pth"))
    assert content["vectors"].dtype == torch.float16 and content["std"].dtype == torch.float32
    save_checkpoint(tmp_path / "half.pth", content)
    whole, half = load_evaluator(trained / "net_best.pth"), load_evaluator(tmp_path / "half.pth")
    drawn = [draw_items(read_split(BANDAI, data, "test"), np.random.default_rng(0))]
    for a, b in zip(embed_batches(whole, drawn, whole.words), embed_batches(half, drawn, half.words)):
        assert (a - b).abs().max() < 0.02 * a.abs().max() and b.dtype == torch.float32


def test_same_seed_same_judge_and_selection(data, tmp_path, monkeypatch):
    """The best is kept where what follows is worse; a tie keeps the first."""
    scores = iter([0.5, 0.7, 0.7, 0.6] * 2)
    monkeypatch.setattr(train_evaluator, "r_precision", lambda *_, **__: np.array([0, 0, next(scores)]))
    saved = {}

    def save(path, content):
        saved.setdefault(path.parent.name, []).append((path.name, content["vectors"].clone()))

    monkeypatch.setattr(train_evaluator, "save_checkpoint", save)
    for name in ("a", "b"):
        given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path, "--exp-name", name]
        run_script(train_evaluator, *given, *FAST, "--total-iter", 4, "--print-iter", 4, "--eval-iter", 1)
    assert [name for name, _ in saved["a"]] == [
        f"net_{x}.pth" for x in ("last", "best", "last", "best", "last", "last")
    ]
    assert all(torch.equal(x, y) for (_, x), (_, y) in zip(saved["a"], saved["b"]))


def test_kit_and_glove(tmp_path):
    """251 features, and vectors of a file: these stay out of the checkpoint and as they are."""
    folder = make_toy(tmp_path / "kit", KIT, (("train", 33), ("val", 32), ("test", 32)))
    glove = write_glove(tmp_path / "glove")
    given = ["--dataname", "kit", "--data-root", folder, "--out-dir", tmp_path, "--glove", glove, "--exp-name", "run"]
    run_script(train_evaluator, *given, *FAST, *STEPS, "--cosine", "--warm-up-iter", 1)
    content = load_checkpoint(tmp_path / "run/net_best.pth")
    assert content["dataset"] == "kit" and "words" not in content and "vectors" not in content
    judge = load_evaluator(tmp_path / "run/net_last.pth")
    assert judge.words is None and judge.config.dim == 251 and judge.config.word == 4
    drawn = [draw_items(read_split(KIT, folder, "test"), np.random.default_rng(0))]
    text, motion = embed_batches(judge, drawn, read_glove(glove))
    assert text.shape == motion.shape == (32, 48)


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(data, tmp_path, capsys):
    """What the script says of flags that cannot be; no run is written."""

    def ask(*flags):
        given = ["--dataname", "bandai", "--data-root", data, "--out-dir", tmp_path / "out", *FAST, *STEPS]
        message = refusal(capsys, train_evaluator, *given, *flags)
        assert not (tmp_path / "out").exists()
        return message

    return ask


def test_flags_that_cannot_be(refused, tmp_path):
    assert "t2m, kit, bandai" in refused("--dataname", "moon")
    assert "prepare" in refused("--data-root", tmp_path / "absent")
    assert "our_vab_data.npy" in refused("--glove", tmp_path / "absent")
    assert "--batch-size must be 2 or more" in refused("--batch-size", 1)
    assert "--dim-coemb" in refused("--dim-coemb", 0)
    assert "64 usable clips in its split 'train', a batch has 65" in refused("--batch-size", 65)
    assert "cannot be used here" in refused("--device", "moon")


def test_too_few_clips_to_validate_on(tmp_path, refused):
    folder = make_toy(tmp_path / "few", BANDAI, (("train", 32), ("val", 31), ("test", 1)))
    assert "31 usable clips in its split 'val', a batch has 32" in refused("--data-root", folder)


# --- Files of the judge -----------------------------------------------------------------------------------------------


def test_statistics_are_the_files_else_as_given(tmp_path, trained):
    given = torch.zeros(263), torch.full((263,), 2.0)
    content = load_checkpoint(trained / "net_best.pth")
    save_checkpoint(tmp_path / "finest.tar", {part: content[part] for part in PARTS})
    published = load_evaluator(tmp_path / "finest.tar")
    assert not published.has_statistics and published.words is None and published.config.embedding == 48
    assert torch.equal(load_evaluator(tmp_path / "finest.tar", "cpu", *given).std, given[1])
    assert torch.equal(load_evaluator(trained / "net_best.pth", "cpu", *given).std, content["std"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mean": torch.zeros(5)}, r"statistics of \[5\] for a judge of 263"),
        ({"words": ["unk"]}, "1 words and vectors"),
        ({"vectors": None}, "written by another version"),
        ({"words": 3}, "written by another version"),
        ({"config": {"dim": 263, "more": 1}}, "EvaluatorConfig does not fit"),
        ({"config": {}}, "does not fit"),
    ],
)
def test_files_of_another_version(tmp_path, trained, changes, message):
    path = tmp_path / "net.pth"
    save_checkpoint(path, {**load_checkpoint(trained / "net_best.pth"), **changes})
    with pytest.raises(ValueError, match=message) as caught:
        load_evaluator(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_size_of_the_shipped_one():
    """Sizes that fit what may be shipped: float16 under 15 MiB, an embedding narrower than the test split."""
    sizes = EvaluatorConfig(
        movement_hidden=256, movement=256, word=128, text_hidden=256, motion_hidden=384, embedding=128
    )
    with torch.device("meta"):
        content = evaluator_checkpoint(Evaluator(sizes), "bandai")
    weights = sum(value.numel() for part in PARTS for value in content[part].values())
    assert 2 * weights < 12 * 2**20


def test_export(tmp_path):
    """What ships is half as large and sees nearly the same."""
    judge = make_judge(tmp_path / "judge.pth")
    run_script(export, "--evaluator", judge, "--out-dir", tmp_path / "shipped")
    exact, shipped = load_evaluator(judge), load_evaluator(tmp_path / "shipped" / "evaluator.pth")
    assert (tmp_path / "shipped" / "evaluator.pth").stat().st_size < 0.7 * judge.stat().st_size
    motion, lengths = torch.randn(2, 40, BANDAI.dim, generator=torch.Generator().manual_seed(0)), torch.tensor([40, 24])
    seen = [model.embed_motion(motion, lengths) for model in (exact, shipped)]
    torch.testing.assert_close(*seen, rtol=2e-2, atol=2e-2)
    assert shipped.words.words == exact.words.words and shipped.dataset == "bandai"
