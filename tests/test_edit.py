"""edit.py and generate.py --concat from the command line: their files, and everything they must refuse."""

import base64
import json
import re

import numpy as np
import pytest
import torch

import edit
import generate
from dataset.spec import BANDAI, KIT, T2M
from models.encdec import ConvConfig
from models.vqvae import VQVAE, VQConfig, vqvae_checkpoint
from options.prompts import read_lengths_in_order
from tests.dataset.test_prepare_bvh import mixamo_text
from tests.motions import turned, walking
from tests.tiny import contents, make_checkpoints, refusal, run_script
from utils.checkpoint import save_checkpoint
from utils.motion import features_to_joints, joints_to_features

WALK, WAVE = "a person walks forward", "someone strolls to the left"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    """A folder of a motion of each sort, 60 frames long."""
    folder = tmp_path_factory.mktemp("motions")
    joints = walking(BANDAI, 61)
    np.save(folder / "a-features.npy", joints_to_features(joints, BANDAI))
    np.save(folder / "b-joints.npy", joints[:60].astype(np.float32))
    (folder / "c-file.bvh").write_text(mixamo_text(joints[:60] * 100))
    (folder / "notes.txt").write_text("no motion")
    return folder


@pytest.fixture
def make(tiny, tmp_path, capsys):
    """make(flags..., out="a", script=edit) is the files that a script writes, in the order of the paths it prints."""

    def run(*flags, out="out", script=edit):
        first = flags[:1] if script is edit else ()  # the task
        run_script(script, *first, *tiny.flags, "--out-dir", tmp_path / out, *flags[len(first) :])
        printed = capsys.readouterr()
        assert printed.err == ""
        paths = [type(tmp_path)(line) for line in printed.out.splitlines()]
        assert sorted(path.name for path in paths) == sorted(entry.name for entry in (tmp_path / out).iterdir())
        return paths

    return run


def page_motion(path):
    return json.loads(re.search(r'<script id="motion" type="application/json">(.*?)</script>', path.read_text())[1])


# --- What it writes


@pytest.mark.parametrize("task", ["inbetween", "outpaint", "prefix", "suffix"])
def test_tasks(make, motions, task):
    source = motions / "a-features.npy"
    page, array = make(task, "--motion", source, "--text", WALK)
    joints, motion = np.load(array), page_motion(page)
    assert joints.shape == (60, 22, 3) and joints.dtype == np.float32
    kept = {"inbetween": slice(0, 12), "prefix": slice(0, 28)}.get(task)
    if kept:
        np.testing.assert_allclose(joints[kept], features_to_joints(np.load(source), BANDAI)[kept], atol=1e-5)
    made = {"inbetween": [[12, 44]], "outpaint": [[0, 12], [44, 60]], "prefix": [[28, 60]], "suffix": [[0, 28]]}
    assert motion["marked"] == made[task] and motion["mark"] == "generated" and motion["source"]
    assert f"{task}-a-features" in page.name and f"<title>{WALK} ({task} of a-features)</title>" in page.read_text()


def test_ranges(make, motions):
    pages = make("range", "--frames", "5:9", "30:41", "--motion", motions / "a-features.npy", "--formats", "html")
    assert page_motion(pages[0])["marked"] == [[5, 9], [30, 41]]
    assert "<title>no sentence (range of a-features)</title>" in pages[0].read_text()


def test_a_folder_is_its_files(make, motions, tmp_path):
    """Each as alone, but for its number; with one sentence for all, or one for each."""
    flags = ("--formats", "npy", "--num-samples", "2")
    together = make("inbetween", "--motion", motions, "--text", WALK, *flags, out="all")
    assert len(together) == 6 and [path.name[:3] for path in together] == ["000", "000", "001", "001", "002", "002"]
    for number, name in enumerate(("a-features.npy", "b-joints.npy", "c-file.bvh")):
        alone = make("inbetween", "--motion", motions / name, "--text", WALK, *flags, out=name)
        for path, other in zip(together[2 * number :], alone):
            assert path.name[3:] == other.name[3:]
            np.testing.assert_allclose(np.load(path), np.load(other), atol=1e-4)
        assert not np.array_equal(np.load(alone[0]), np.load(alone[1])), "samples differ"
    file = tmp_path / "sentences.txt"
    file.write_text(f"{WALK}\n{WAVE}\n{WALK}\n")
    each = make("inbetween", "--motion", motions, "--text-file", file, "--formats", "npy", out="each")
    np.testing.assert_allclose(np.load(each[0]), np.load(together[0]), atol=1e-4)
    assert not np.allclose(np.load(each[1]), np.load(together[2]), atol=1e-4)


@pytest.mark.parametrize(("task", "kept"), [("inbetween", slice(0, 12)), ("suffix", slice(28, 60))])
def test_joints_stand_where_they_stood(make, tmp_path, task, kept):
    """Kept joints come back to their place in the world; the page's source lies on them."""
    skeleton = features_to_joints(joints_to_features(walking(BANDAI, 61), BANDAI), BANDAI)  # of the dataset's bones
    joints = turned(skeleton.astype(np.float64), 2.0) + [5.0, 0.0, -3.0]
    np.save(tmp_path / "joints.npy", joints)
    page, array = make(task, "--motion", tmp_path / "joints.npy")
    result, motion = np.load(array), page_motion(page)
    assert result.shape == (60, 22, 3)
    np.testing.assert_allclose(result[kept], joints[kept], atol=0.03)
    source = np.frombuffer(base64.b64decode(motion["source"]), "<i4").reshape(60, 22, 3) / 1000
    np.testing.assert_allclose(source[kept], result[kept], atol=0.03)


@pytest.mark.parametrize("name", ["a-features.npy", "b-joints.npy"])
def test_hidden_frames_have_no_influence(make, motions, tmp_path, name):
    source = np.load(motions / name)
    other = source.copy()
    other[20:45] = np.random.default_rng(0).normal(size=other[20:45].shape)
    np.save(tmp_path / name, other)
    flags = ("--frames", "20:45", "--text", WALK, "--formats", "npy")
    made = [
        make("range", "--motion", folder / name, *flags, out=f"{i}")[0] for i, folder in enumerate((motions, tmp_path))
    ]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_an_npz_holds_what_was_edited(make, motions):
    """Another edit of its source, with what its flags say, is the same motion."""
    source = motions / "b-joints.npy"
    flags = ("--text", WALK, "--seed", "4", "--bend")
    (path,) = make("range", "--frames", "20:41", "--motion", source, *flags, "--formats", "npz")
    with np.load(path, allow_pickle=False) as arrays:
        made = {name: arrays[name] for name in arrays}
    assert json.loads(made["marks"].item()) == {"generated": [[20, 41]]} and made["text"] == WALK
    given = json.loads(made["settings"].item())["flags"]
    assert given["task"] == "range" and given["frames"] == ["20:41"] and given["bend"] and given["seed"] == 4
    np.save(path.with_name("source.npy"), made["source_features"])
    (path.parent / path.name).unlink()
    source = path.with_name("source.npy").rename(path.parents[1] / "source.npy")
    (again,) = make("range", "--frames", "20:41", "--motion", source, *flags, "--formats", "npz")
    with np.load(again) as arrays:
        assert np.array_equal(arrays["features"], made["features"]) and np.array_equal(arrays["ids"], made["ids"])


def test_what_is_exported_can_be_edited(make, motions):
    bvh = make("prefix", "--motion", motions / "a-features.npy", "--formats", "bvh", out="a")[0]
    joints, npz = make("suffix", "--motion", bvh, "--formats", "npy,npz", out="b")
    with np.load(npz) as arrays:
        assert len(np.load(joints)) == 60 and arrays["source_features"].shape == (60, 263)


def test_same_command_same_files(make, motions, tmp_path):
    for out in "ab":
        make("outpaint", "--motion", motions / "a-features.npy", "--text", WALK, "--seed", "3", out=out)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    make("outpaint", "--motion", motions / "a-features.npy", "--text", WALK, "--seed", "4", out="c")
    assert contents(tmp_path / "c") != contents(tmp_path / "a")


def test_bend_and_keep_exact(make, motions):
    def joints(*flags):
        task = ("inbetween", "--motion", motions / "a-features.npy", "--formats", "npy")
        return np.load(make(*task, *flags, out="-".join(map(str, flags)) or "plain")[0])

    source = features_to_joints(np.load(motions / "a-features.npy"), BANDAI)
    np.testing.assert_allclose(joints("--bend")[44:], source[44:], atol=1e-3)
    assert np.abs(joints()[44:] - source[44:]).max() > 0.01
    assert np.abs(joints("--no-keep-exact")[:12] - source[:12]).max() > 0.01
    assert not np.array_equal(joints("--blend", "3"), joints("--blend", "9"))


# --- Motions in a row


def test_long(make, tmp_path):
    """A length belongs to the sentences before it; those without one get what the model says."""
    page, array = make("long", "--text", WALK, "--length", "40", "--text", WAVE, out="a")
    alone = make("--text", WAVE, "--formats", "npy", script=generate, out="b")
    guess = len(np.load(alone[0]))
    assert len(np.load(array)) == 40 + 8 + guess
    motion = page_motion(page)
    assert motion["marked"] == [[40, 48]] and motion["mark"] == "transition" and motion["source"] is None
    other = make("--text", WALK, "--length", "40", "--text", WAVE, "--concat", script=generate, out="c")
    assert np.array_equal(np.load(other[1]), np.load(array))


def test_one_sentence_in_a_row_is_that_sentence(make):
    flags = ("--text", WALK, "--length", "41", "--seed", "5", "--num-samples", "2", "--formats", "npy")
    plain, row, long = (
        make(*flags, script=generate, out="a"),
        make(*flags, "--concat", script=generate, out="b"),
        make("long", *flags, out="c"),
    )
    for files in zip(plain, row, long):
        first, *others = (np.load(file) for file in files)
        assert len(first) == 41
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-4)


def test_transitions(make):
    def joints(*flags):
        flags = ("--text", WALK, WAVE, "--length", "40", "32", "--temperature", "0", "--formats", "npy", *flags)
        return np.load(make("long", *flags, out="-".join(flags[9:]) or "plain")[0])

    assert len(joints("--num-transition-token", "0")) == 72 and len(joints("--num-transition-token", "5")) == 92
    found = [joints("--num-transition-token", "9", "--transition-text", side) for side in ("left", "right", "both")]
    assert not np.array_equal(found[0], found[1])


def test_lengths_in_order():
    def read(*given, texts):
        return read_lengths_in_order([(name, value.split()) for name, value in given], texts, 4, 76)

    assert read(("text", "a b"), texts=2) == [None, None]
    assert read(("text", "a b"), ("length", "8"), texts=2) == [8, 8]
    assert read(("text", "a b"), ("length", "8 9"), ("text", "c"), texts=3) == [8, 9, None]
    assert read(("text", "a"), ("length", "8"), ("text", "b c"), ("length", "9"), texts=3) == [8, 9, 9]
    assert read(("length", "8 9"), texts=2) == [8, 9], "the sentences of a file"
    for given, texts, message in (
        ([("text", "a b c"), ("length", "8 9")], 3, "2 numbers for 3 sentences"),
        ([("length", "8"), ("text", "a")], 1, "the sentences before it"),
        ([("text", "a"), ("length", "8"), ("length", "9")], 1, "the sentences before it"),
        ([("text", "a"), ("length", "x")], 1, "whole number of frames from 4 to 76, not 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            read(*given, texts=texts)


# --- Mistakes: one line on stderr, status 2, and --out-dir as it was


@pytest.fixture
def refused(tiny, tmp_path, capsys):
    """refused(task, flags...) is what edit.py says; nothing is written."""

    def run(*flags, script=edit, checkpoints=tiny.flags):
        first = flags[:1] if script is edit else ()
        before = contents(tmp_path)
        out = tmp_path / "absent"
        message = refusal(capsys, script, *first, *checkpoints, "--out-dir", out, *flags[len(first) :])
        assert contents(tmp_path) == before and not out.exists()
        return message

    return run


def test_motions_that_cannot_be_edited(refused, tmp_path):
    features = joints_to_features(walking(BANDAI, 61), BANDAI)
    broken = features.copy()
    broken[30, 100] = np.nan
    for array, message in (
        (features[:, :251], "wants features [T, 263]"),
        (joints_to_features(walking(KIT, 61), KIT), "wants features [T, 263]"),
        (features[:7], "8 frames or more to be edited, not 7"),
        (features[:0], "8 frames or more"),
        (broken, "nan"),
        (features[None], "wants features"),
        (np.zeros((40, 22, 3)), "legs have no length"),
    ):
        np.save(tmp_path / "x.npy", array)
        said = refused("inbetween", "--motion", tmp_path / "x.npy", "--text", WALK)
        assert message in said and said.count("x.npy") == 1
    (tmp_path / "x.npy").write_bytes(b"no array")
    assert "no readable npy" in refused("suffix", "--motion", tmp_path / "x.npy")
    (tmp_path / "x.bvh").write_text("no motion")
    assert "x.bvh" in refused("suffix", "--motion", tmp_path / "x.bvh")
    (tmp_path / "x.txt").write_text("no motion")
    assert "is no motion" in refused("suffix", "--motion", tmp_path / "x.txt")
    assert "there is no motion" in refused("suffix", "--motion", tmp_path / "nowhere.npy")
    (tmp_path / "empty").mkdir()
    assert "no .npy or .bvh" in refused("suffix", "--motion", tmp_path / "empty")


def test_joints_whose_hidden_frames_are_none(refused, tmp_path):
    """The page shows them too."""
    joints = walking(BANDAI, 60)
    joints[:20] = 0
    np.save(tmp_path / "x.npy", joints)
    assert "x.npy: the legs have no length" in refused("suffix", "--motion", tmp_path / "x.npy")


def test_one_bad_motion_of_a_folder(refused, motions, tmp_path):
    """Nothing is written of the good ones either."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.npy").write_bytes((motions / "a-features.npy").read_bytes())
    np.save(folder / "b.npy", np.zeros((40, 5)))
    assert "b.npy" in refused("prefix", "--motion", folder)


@pytest.mark.parametrize("frames", ["50:70", "60:61", "9:9", "40:20", "-3:5", "5", "a:b", "5:", "1:2:3", ""])
def test_frames(refused, motions, frames):
    message = refused("range", f"--frames={frames}", "--motion", motions / "a-features.npy")
    assert ("0:60" in message and "a-features" in message) or repr(frames) in message


def test_frames_that_do_not_fit_a_row(refused, tmp_path):
    np.save(tmp_path / "x.npy", joints_to_features(walking(BANDAI, 201), BANDAI))
    message = refused("range", "--frames", "0:4", "100:120", "--motion", tmp_path / "x.npy")
    assert "76 at once" in message and "x.npy" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("inbetween", "--motion"), ("range --motion M", "--frames"), ("prefix --motion M --frames 4:8", "--frames"),
        ("long --motion M --text a", "no --motion"), ("long", "--text"), ("prefix --motion M --length 40", "--length"),
        ("prefix --motion M --bend --no-keep-exact", "--keep-exact"), ("prefix --motion M --scale 0", "--scale"),
        ("prefix --motion M --text a b", "2 sentences for 1 motion"), ("prefix --motion M --blend -1", "--blend"),
        ("prefix --motion M --temperature nan", "--temperature"), ("prefix --motion M --formats pdf", "pdf"),
        ("prefix --motion M --nb-code 99", "--nb-code"), ("upward --motion M", "upward"), ("", "task"),
        ("prefix --motion M --up x", "--up"), ("prefix --motion M --device toaster", "toaster"),
        ("long --text a b c --length 8 9", "2 numbers for 3 sentences"), ("long --length 8 --text a", "before it"),
        ("long --text a --length 77", "from 4 to 76"), ("long --text a --num-transition-token 18", "from 0 to 17"),
        ("long --text a --num-transition-token -1", "--num-transition-token"),
        ("long --text a --transition-text up", "--transition-text"),
    ],
)  # fmt: skip
def test_flags(refused, motions, flags, message):
    words = [str(motions / "a-features.npy") if word == "M" else word for word in flags.split()]
    assert message in refused(*words)


def test_concatenation_of_lengths_that_do_not_match(refused):
    texts = ("--text", WALK, WAVE, WALK, "--concat")
    assert "2 numbers for 3 sentences" in refused(*texts, "--length", "8", "9", script=generate)
    assert "from 0 to 17" in refused(*texts, "--num-transition-token", "40", script=generate)


def test_no_length_model(refused, tiny):
    said = refused("long", "--text", WALK, "--length", "8", "--text", WAVE, checkpoints=tiny.flags[:4])
    assert "no length model" in said and "--length" in said


def test_a_tokenizer_of_halves(refused, tiny, motions, tmp_path):
    """The upper-body model is for another edit: whole bodies are made by the tokenizer of the whole body."""
    conv = ConvConfig(width=16, depth=1)
    halves = VQVAE(
        VQConfig(codes=16, code_dim=4, conv=conv, lower_features=T2M.lower_features, upper_heights=T2M.upper_heights)
    )
    save_checkpoint(tmp_path / "upper.pth", vqvae_checkpoint(halves, "bandai"))
    flags = tiny._replace(vq=tmp_path / "upper.pth").flags
    said = refused("prefix", "--motion", motions / "a-features.npy", checkpoints=flags)
    assert "upper.pth is an upper-body model" in said


def test_another_skeletons_weights(refused, motions, tmp_path):
    flags = make_checkpoints(tmp_path / "kit", KIT).flags
    assert "kit wants features [T, 251]" in refused("prefix", "--motion", motions / "a-features.npy", checkpoints=flags)
    assert "weights are for kit's" in refused("prefix", "--motion", motions / "c-file.bvh", checkpoints=flags)


def test_out_dirs_that_cannot_be(tiny, motions, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    flags = (*tiny.flags, "--motion", motions / "a-features.npy", "--out-dir", file / "below")
    assert str(file) in refusal(capsys, edit, "prefix", *flags)
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)
