"""generate.py from the command line: its files, prompts of every sort, and everything it must refuse."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

import generate
import utils.film
from dataset.spec import BANDAI, KIT
from models.pipeline import PRETRAINED, MotionPipeline
from models.transformer import transformer_checkpoint
from models.vqvae import vqvae_checkpoint
from tests.conftest import ROOT
from tests.tiny import (
    CAPTIONS,
    contents,
    make_checkpoints,
    refusal,
    run_script,
    tiny_text_encoder,
    tiny_transformer,
    tiny_vq,
)
from utils.checkpoint import load_checkpoint, save_checkpoint

WALK, WAVE = "a person walks forward", "someone waves a hand"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def make(tiny, tmp_path, capsys):
    """make(flags..., out="a") is the files that generate.py writes, in the order of the paths it prints."""

    def run(*flags, out="out"):
        folder = tmp_path / out
        run_script(generate, *tiny.flags, "--out-dir", folder, *flags)
        printed = capsys.readouterr()
        run.err = printed.err
        paths = [type(folder)(line) for line in printed.out.splitlines()]
        assert all(path.parent == folder for path in paths), "nothing else is printed, no file lies elsewhere"
        assert sorted(path.name for path in paths) == sorted(entry.name for entry in folder.iterdir())
        return paths

    return run


def texts(*sentences):
    return [word for sentence in sentences for word in ("--text", sentence)]


# --- What it writes


def test_from_the_shell(tiny, tmp_path):
    """A process of its own, run from elsewhere: files, paths on stdout, nothing else."""
    done = subprocess.run(
        [sys.executable, ROOT / "generate.py", *tiny.flags, "--text", WALK, "--length", "24", "--out-dir", "here"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    paths = [tmp_path / line for line in done.stdout.splitlines()]
    assert {path.suffix for path in paths} == {".html", ".npy"}
    assert {str(path.relative_to(tmp_path)) for path in paths} == contents(tmp_path).keys()


def test_mistakes_from_the_shell(tmp_path):
    """A process of its own says one line, without a traceback or a warning of any library."""
    done = subprocess.run(
        [sys.executable, "generate.py", "--text", WALK, "--formats", "pdf", "--out-dir", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [4, 41, 60, 76])
def test_files(make, length):
    page, array = sorted(make("--text", WALK, "--length", length))
    assert (page.suffix, array.suffix) == (".html", ".npy") and page.stem == array.stem
    joints = np.load(array)
    assert joints.shape == (length, 22, 3) and joints.dtype == np.float32 and np.isfinite(joints).all()
    text = page.read_text(encoding="utf-8")
    assert f"<title>{WALK}</title>" in text and f'"frames":{length}' in text and '"fps":20.0' in text


def test_the_length_is_predicted(make):
    (path,) = make("--text", WALK, "--formats", "npy")
    assert BANDAI.min_frames <= len(np.load(path)) <= 76


def test_seeds(make, tmp_path):
    flags = [*texts(WALK, WAVE), "--length", "41"]
    for out, seed in (("a", 7), ("b", 7), ("c", 8)):
        make(*flags, "--seed", seed, out=out)
    first, again, other = (contents(tmp_path / out) for out in "abc")
    assert first == again and first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_formats(make):
    assert [path.suffix for path in make("--text", WALK, "--length", "8", "--formats", "npy", out="a")] == [".npy"]
    assert [path.suffix for path in make("--text", WALK, "--length", "8", "--formats", "html", out="b")] == [".html"]
    assert len(make("--text", WALK, "--length", "8", "--formats", " npy , html", out="c")) == 2


def test_all_formats(make):
    paths = make("--text", WALK, "--length", "8", "--formats", "gif,mp4,bvh,npz,npy,html")
    assert [path.suffix for path in paths] == [".html", ".npy", ".npz", ".bvh", ".mp4", ".gif"]


def test_mp4_without_ffmpeg(refused, monkeypatch):
    monkeypatch.setattr(utils.film.shutil, "which", lambda name: None)
    monkeypatch.setattr(utils.film.imageio_ffmpeg, "get_ffmpeg_exe", raise_runtime_error)
    assert "mp4 needs ffmpeg" in refused("--text", WALK, "--length", "8", "--formats", "html,mp4")


def raise_runtime_error():
    raise RuntimeError("No ffmpeg exe could be found.")


def test_an_npz_is_enough_to_make_it_again(make, tiny):
    """From what it says alone, with the checkpoints whose hashes it has."""
    flags = (*texts(WAVE, WALK, WALK), "--length", "40", "8", "8", "--num-samples", "2", "--seed", "5")
    for path in make(*flags, "--temperature", "0.7", "--steps", "4", "--formats", "npz"):
        with np.load(path, allow_pickle=False) as arrays:
            made = {name: arrays[name] for name in arrays}
        settings = json.loads(made["settings"].item())
        hashes = settings["checkpoints"]
        assert hashes == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tiny}
        given, samples = settings["flags"], settings["flags"]["num_samples"]
        pipeline = MotionPipeline.load(*tiny[:2], "cpu", tiny.length, settings["precision"])
        again = pipeline.generate(
            [text for text in settings["texts"] for _ in range(samples)],
            [frames for frames in settings["frames"] for _ in range(samples)],
            made["seed"].item(), given["temperature"], given.get("cfg_scale"), given["steps"], given["plant_feet"],
        )[settings["number"] * samples + settings["sample"]]  # fmt: skip
        assert again.text == made["text"] and again.fps == made["fps"]
        for name in ("features", "joints", "ids"):
            assert np.array_equal(getattr(again, name), made[name])


def test_samples(make):
    paths = make(*texts(WALK, WAVE), "--length", "8", "60", "--num-samples", "3", "--formats", "npy")
    motions = [np.load(path) for path in paths]
    assert [len(motion) for motion in motions] == [8] * 3 + [60] * 3
    assert len({motion.tobytes() for motion in motions}) == 6
    assert len({path.name for path in paths}) == 6


def test_text_file_equals_texts(make, tmp_path):
    """In the order of the lines, empty ones left out; one length for all, or one for each."""
    file = tmp_path / "sentences.txt"
    file.write_text(f"{WALK}\n\n  {WAVE}  \r\nein Läufer läuft\n", encoding="utf-8")
    sentences = texts(WALK, WAVE, "ein Läufer läuft")
    make("--text-file", file, "--length", "41", "8", "60", out="a")
    make(*sentences, "--length", "41", "8", "60", out="b")
    make("--text-file", file, out="c")
    make(*sentences, out="d")
    a, b, c, d = (contents(tmp_path / out) for out in "abcd")
    assert len(a) == 6 and a == b
    assert len(c) == 6 and c == d


def test_text_file_is_one_batch(make, tmp_path, monkeypatch):
    calls = []
    inner = MotionPipeline.sample_ids
    monkeypatch.setattr(MotionPipeline, "sample_ids", lambda self, *given: calls.append(given) or inner(self, *given))
    file = tmp_path / "sentences.txt"
    file.write_text("".join(f"{caption}\n" for caption in CAPTIONS))
    assert len(make("--text-file", file, "--length", "20", "--formats", "npy")) == len(CAPTIONS)
    assert len(calls) == 1 and sorted(calls[0][0]) == sorted(CAPTIONS)


def test_a_second_run_adds_to_the_folder(make, tmp_path):
    (tmp_path / "out").mkdir()
    make("--text", WALK, "--length", "8", out="out")
    before = contents(tmp_path / "out")
    with pytest.raises(AssertionError):  # `make` sees the first run's files too
        make("--text", WAVE, "--length", "8", out="out")
    after = contents(tmp_path / "out")
    assert before.items() < after.items() and len(after) == 4


def test_unknown_words_are_told(make):
    make("--text", WALK, "--length", "8", out="a")
    assert make.err == ""
    make(*texts(WALK, "a person qqqq"), "--length", "8", out="b")
    assert make.err.startswith("warning: 'a person qqqq': this model never read 'qqqq', and ")
    assert make.err.count("\n") == 1


def test_kit(tmp_path, capsys):
    flags = make_checkpoints(tmp_path / "tiny", KIT).flags
    run_script(generate, *flags, "--text", WALK, "--length", "30", "--out-dir", tmp_path / "out")
    (array,) = (tmp_path / "out").glob("*.npy")
    assert np.load(array).shape == (30, 21, 3) and np.abs(np.load(array)).max() < 20, "metres"
    assert '"fps":12.5' in next((tmp_path / "out").glob("*.html")).read_text()


def test_sizes_that_are_the_checkpoints(make):
    sizes = "--nb-code 16 --code-dim 4 --down-t 2 --width 16 --depth 1 --block-size 21 --embed-dim-gpt 32 --clip-dim 16"
    more = "--num-layers 2 --num-local-layer 1 --n-head-gpt 2 --ff-rate 2 --dataname bandai"
    make("--text", WALK, "--length", "8", *sizes.split(), *more.split())


# --- Prompts

PROMPTS = {
    "parents": "../../x",
    "absolute": "/etc/passwd",
    "newline": "a person\nwalks\r\nforward",
    "control": "walk\x00away\x1b[31m\x7f",
    "percent": "walk%00away %s {} \\0",
    "emoji": "🚶 walks 🏃‍♂️",
    "script": "<script>alert(1)</script>",
    "closing": "</title><img src=x onerror=alert(1)> & \"q\" 'q'",
    "template": "__MOTION__ walks __TITLE__",
    "dots": "..",
    "dash": "-",
    "windows": "C:\\con:walk*?|.html",
    "long word": "walk" * 240,
    "other letters": "человек идёт 歩く人",
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_prompts_stay_inside(tiny, tmp_path, capsys, prompt):
    """Two plain files directly in --out-dir whatever the sentence is; a page that shows it as text."""
    out = tmp_path / "deep/er/out"
    run_script(generate, *tiny.flags, f"--text={prompt}", "--length", "8", "--out-dir", out)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and {path.name for path in out.iterdir()} == {os.path.basename(line) for line in printed}
    assert len(contents(tmp_path)) == 2 and all(path.is_file() for path in out.iterdir())
    assert all(path.name.isascii() and path.name.isprintable() and len(path.name) < 100 for path in out.iterdir())
    page = next(out.glob("*.html")).read_text(encoding="utf-8")
    title = page.partition("<title>")[2].partition("</title>")[0]
    assert title and "<" not in title
    assert "<script>alert" not in page and "<img src=x" not in page


def test_titles_are_the_sentences(make):
    prompts = {"a <b> & c": "a &lt;b&gt; &amp; c", "🚶 walks": "🚶 walks", "../../x": "../../x"}
    pages = make(*texts(*prompts), "--length", "8", "--formats", "html")
    for page, title in zip(pages, prompts.values()):
        assert f"<title>{title}</title>" in page.read_text(encoding="utf-8")


# --- Mistakes: one line on stderr, status 2, and --out-dir as it was


@pytest.fixture
def refused(tiny, tmp_path, capsys):
    """refused(flags...) is what generate.py says; nothing is written, to a folder that exists or one that does not."""

    def run(*flags, checkpoints=tiny.flags):
        there, absent = tmp_path / "there", tmp_path / "absent"
        there.mkdir(exist_ok=True)
        (there / "mine.txt").write_text("mine")
        before = contents(tmp_path)
        messages = [refusal(capsys, generate, *checkpoints, "--out-dir", x, *flags) for x in (there, absent)]
        assert messages[0] == messages[1]
        assert contents(tmp_path) == before and not absent.exists()
        return messages[0]

    return run


@pytest.mark.parametrize("length", ["0", "3", "77", "5000", "abc", "12.5", "-8", "", "1e1", "９", "8 8", "9" * 40])
def test_lengths(refused, length):
    message = refused("--text", WALK, f"--length={length}")
    assert "from 4 to 76" in message and repr(length) in message


def test_numbers_of_lengths(refused):
    assert "2 numbers for 3 sentences" in refused(*texts(WALK, WALK, WALK), "--length", "8", "12")
    assert "'x'" in refused(*texts(WALK, WALK), "--length", "8", "x")


@pytest.mark.parametrize(
    "prompt", ["", "   ", "\n\t", "walk " * 2000, "w" * 10_000, "a " * 97, "walk \udcff on"],
    ids=["empty", "blank", "blank lines", "10,000 in words", "10,000 in one", "97 words", "not UTF-8"],
)  # fmt: skip
def test_sentences(refused, prompt):
    """The last is what a byte that is no UTF-8 becomes in an argument."""
    assert "sentence" in refused(*texts(WALK, prompt), "--length", "8")


def test_no_sentence(refused, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n  \n")
    assert "--text" in refused()
    assert "no sentence" in refused("--text-file", empty)
    assert "--text" in refused("--text", WALK, "--text-file", empty)


def test_text_files_that_cannot_be_read(refused, tmp_path):
    assert "nowhere.txt" in refused("--text-file", tmp_path / "nowhere.txt")
    assert "there" in refused("--text-file", tmp_path / "there"), "a folder"
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    assert "binary.txt" in refused("--text-file", tmp_path / "binary.txt")


@pytest.mark.parametrize(
    "flags",
    [
        "--num-samples 0", "--num-samples -1", "--num-samples x", "--steps 0", "--temperature -1", "--temperature nan",
        "--cfg-scale inf", "--formats pdf", "--formats html,pdf", "--formats=", "--formats ,", "--device nonsense",
        "--device cuda:99", "--dataname nonsense", "--dataname kit", "--precision 8", "--nonsense 3", "--seed x",
        "--nb-code 8192", "--code-dim 32", "--down-t 3", "--width 512", "--depth 3", "--block-size 51",
        "--embed-dim-gpt 1024", "--clip-dim 512", "--num-layers 9", "--num-local-layer 2", "--n-head-gpt 16",
        "--ff-rate 4",
    ],
)  # fmt: skip
def test_flags(refused, flags):
    message = refused("--text", WALK, "--length", "8", *flags.split())
    flag, *value = flags.replace("=", " ").split()
    assert flag in message or repr(*value) in message


class Touch:
    """Makes a file when it is unpickled by a loader that executes what a pickle says."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def write_bad(kind, path, good):
    """A file that is no checkpoint of the sort wanted."""
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind == "empty":
        path.touch()
    elif kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"net": Touch(path.with_name("executed"))}))
    elif kind == "torch pickle":
        torch.save({"net": Touch(path.with_name("executed")), "trans": {}, "length": {}}, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "words")
    elif kind == "folder":
        path.mkdir()
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "list of weights":
        torch.save(torch.nn.Linear(3, 3).state_dict(), path)
    elif kind == "other weights":
        state = torch.nn.Linear(3, 3).state_dict()
        torch.save({"net": state, "trans": state, "length": state}, path)
    elif kind == "other config":
        content = load_checkpoint(good)
        torch.save({**content, "config": {"lr": 1.0}}, path)
    elif kind == "config in words":
        torch.save({**load_checkpoint(good), "config": "big"}, path)


BAD = [
    "missing", "truncated", "empty", "random", "pickle", "torch pickle", "zip", "folder", "tensor", "list of weights",
    "other weights", "other config", "config in words",
]  # fmt: skip


@pytest.mark.parametrize("place", ["vq", "trans", "length"])
@pytest.mark.parametrize("kind", BAD)
def test_bad_checkpoints(tiny, refused, tmp_path, place, kind):
    path = tmp_path / "some_file.pth"
    write_bad(kind, path, getattr(tiny, place))
    message = refused("--text", WALK, checkpoints=tiny._replace(**{place: path}).flags)
    assert "some_file.pth" in message and not (tmp_path / "executed").exists()


def test_unpickling_would_have_executed(tmp_path):
    """The control of the test above."""
    write_bad("pickle", tmp_path / "x.pth", None)
    pickle.loads((tmp_path / "x.pth").read_bytes())["net"].close()
    assert (tmp_path / "executed").exists()


def test_checkpoints_in_each_others_place(tiny, refused):
    for place in tiny._fields:
        for other in set(tiny._fields) - {place}:
            swapped = tiny._replace(**{place: getattr(tiny, other)})
            assert f"{other}.pth is no" in refused("--text", WALK, checkpoints=swapped.flags)


def test_checkpoints_that_do_not_belong_together(tiny, refused, tmp_path):
    other = tmp_path / "other.pth"
    save_checkpoint(other, vqvae_checkpoint(tiny_vq(seed=1), "bandai"))
    assert "another tokenizer" in refused("--text", WALK, checkpoints=tiny._replace(vq=other).flags)
    wide = transformer_checkpoint(tiny_transformer(tiny_vq(codes=32)), tiny_text_encoder().checkpoint(), "bandai")
    save_checkpoint(other, wide)
    assert "32 x 4" in refused("--text", WALK, checkpoints=tiny._replace(trans=other).flags)


def test_no_length_model(tiny, refused):
    assert "--length" in refused("--text", WALK, checkpoints=tiny.flags[:4])


def test_out_dirs_that_cannot_be(tiny, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below", file / "far/below"):
        message = refusal(capsys, generate, *tiny.flags, "--text", WALK, "--length", "8", "--out-dir", out)
        assert str(file) in message
    assert contents(tmp_path) == {"file": b"mine"}


def test_a_full_disk(tiny, tmp_path, capsys, monkeypatch):
    """A write that fails leaves no piece of a file."""

    def full(file, array):
        file.write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    flags = [*tiny.flags, "--text", WALK, "--length", "8", "--formats", "npy", "--out-dir", tmp_path / "out"]
    assert "No space left" in refusal(capsys, generate, *flags)
    assert contents(tmp_path) == {}


# --- The weights that ship

SHIPPED = [PRETRAINED / f"{name}.pth" for name in ("vq", "trans", "length")]
needs_weights = pytest.mark.skipif(
    not all(path.is_file() for path in SHIPPED),
    reason=f"the weights that ship are not all there: {', '.join(path.name for path in SHIPPED if not path.is_file())}",
)


@needs_weights
def test_shipped_weights_walk(tmp_path):
    """The README's first command, without a flag about checkpoints; the first facing is +z."""
    done = subprocess.run(
        [sys.executable, "generate.py", "--text", WALK, "--out-dir", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    joints = np.load(next(line for line in done.stdout.splitlines() if line.endswith(".npy")))
    assert joints.shape[1:] == (22, 3) and len(joints) >= 40
    across, _, forward = joints[-1, 0] - joints[0, 0]
    assert forward > 0.5 and forward > 2 * abs(across)
    assert joints[:, 0, 1].min() > 0.5 and joints[:, 0, 1].max() < 1.3, "the pelvis of someone upright"


@needs_weights
@pytest.mark.parametrize("side, other", [("left", "right"), ("right", "left")])
def test_shipped_weights_know_the_sides(side, other):
    pipeline = MotionPipeline.load(device="cpu")
    raised, resting = (pipeline.spec.joint_names.index(f"{name}_wrist") for name in (side, other))
    votes = 0
    for seed in range(5):
        (motion,) = pipeline.generate([f"someone raises the {side} hand"], seed=seed, cfg_scale=2.0)
        heights = motion.joints[..., 1].max(axis=0)
        votes += heights[raised] > heights[resting]
    assert votes >= 3
