"""Every kind of file the programs read, with bytes flipped or cut off: what it held, or a ValueError in words.

A few dozen damages of each kind in the suite; as many as one likes with DAMAGE=1000 python -m pytest
tests/test_damage.py. What has checksums (checkpoints, archives, .npz, our own codebook and the index of a pack) never
gives anything but what it held. Elsewhere a flipped bit may be a number as good as any: the result is of the right form
then. BVH, text files and sentences are in tests/test_fuzz.py.
"""

import dataclasses
import io
import os
import pickle
import random
import resource
import shutil
import signal
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset.evaluation import read_glove
from dataset.humanml import read_split
from dataset.motion_file import read_motion
from dataset.normalizer import read_statistics
from dataset.pack import PACKED
from dataset.prepare import download, humanml3d
from dataset.prepare.bandai import find_clips
from dataset.prepare.bvh import read_map
from dataset.spec import BANDAI
from dataset.text_features import text_table
from dataset.tokens import codebook_tokens
from models.clip import MERGES_FILE, load_clip, torchscript_weights
from models.evaluator import load_evaluator
from models.length import load_length_model
from models.text_encoder import build_text_encoder
from models.transformer import load_stage2
from models.vqvae import load_vqvae, vqvae_checkpoint
from options.option_vq import VQOptions
from tests.dataset.test_humanml3d import MODELS
from tests.models.test_clip import tiny_tower, write_merges, write_openai
from tests.motions import walking
from tests.tiny import (
    CAPTIONS,
    contents,
    make_checkpoints,
    make_dataset,
    make_judge,
    tiny_text_encoder,
    tiny_upper_vq,
    tiny_vq,
)
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.motion import joints_to_features
from utils.resume import begun_before

COUNT = int(os.environ.get("DAMAGE", "30"))
PATIENCE, ROOM = 60, 400_000  # seconds for one reading, KiB of memory for all of a kind
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Kind:
    """Files and what reads them."""

    files: list[Path]
    read: Callable[[], Any]  # raises ValueError for what it cannot use
    exact: bool = False  # whatever it gives is what undamaged files give
    form: Callable[[Any], Any] = type  # else this of it is the same


KINDS: dict[str, Callable[[Path], Kind]] = {}


def kind(make: Callable[[Path], Kind]) -> Callable[[Path], Kind]:
    KINDS[make.__name__] = make
    return make


def flat(value: Any) -> Any:
    """Something that == compares, of anything that is read."""
    if isinstance(value, torch.nn.Module):
        return flat(dict(value.state_dict()))
    if isinstance(value, torch.Tensor):
        return flat(value.detach().numpy())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value):
        return flat({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {key: flat(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [flat(inner) for inner in value]
    return value


# --- Checkpoints


@kind
def tokenizer(folder):
    path = make_checkpoints(folder).vq
    return Kind([path], lambda: load_vqvae(path), exact=True)


@kind
def tokenizer_of_halves(folder):
    path = make_checkpoints(folder, make_vq=tiny_upper_vq).vq
    return Kind([path], lambda: load_vqvae(path), exact=True)


@kind
def tokenizer_of_old_torch(folder):
    """Without checksums, as torch wrote before 1.6."""
    path = folder / "net_last.pth"
    torch.save(vqvae_checkpoint(tiny_vq(), BANDAI.name), path, _use_new_zipfile_serialization=False)
    return Kind([path], lambda: load_vqvae(path), form=lambda model: model.config.dim)


@kind
def transformer(folder):
    path = make_checkpoints(folder).trans

    def read():
        stage2 = load_stage2(path)
        return stage2.model, build_text_encoder(stage2.text, path), stage2.dataset

    return Kind([path], read, exact=True)


@kind
def lengths(folder):
    path = make_checkpoints(folder).length
    return Kind([path], lambda: load_length_model(path), exact=True)


@kind
def judge(folder):
    path = make_judge(folder / "judge.pth")

    def read():
        model = load_evaluator(path)
        return model, model.words and model.words.vectors

    return Kind([path], read, exact=True)


@kind
def state(folder):
    path = folder / "state.pth"
    content = {"step": 3, "options": {"lr": 2e-4}, "random": [{"python": 1}], "logs": {"run.log": 7}}
    save_checkpoint(path, content | {"model": tiny_vq().state_dict()})
    return Kind([path], lambda: begun_before(folder, VQOptions(resume=True)), exact=True)


# --- Datasets


def clips_of(folder):
    return [(clip.name, clip.motion, clip.captions) for clip in read_split(BANDAI, folder, "train")]


def form_of_clips(clips):
    """Of those that are left: motion of the dataset's width and captions that are text."""
    return {(motion.dtype.str, motion.shape[1], type(texts[0].text)) for _, motion, texts in clips}


@kind
def features_and_captions(folder):
    """Read one by one: packs are taken away."""
    data = make_dataset(folder / "data", BANDAI)
    names = (data / "train.txt").read_text().split()
    files = [
        data / f"{kind}/{name}.{end}" for name in names for kind, end in (("new_joint_vecs", "npy"), ("texts", "txt"))
    ]

    def read():
        shutil.rmtree(data / PACKED, ignore_errors=True)
        return clips_of(data)

    return Kind(files, read, form=form_of_clips)


@kind
def split_lists(folder):
    data = make_dataset(folder / "data", BANDAI)
    return Kind([data / "train.txt"], lambda: clips_of(data), form=form_of_clips)


@kind
def pack_index(folder):
    data = make_dataset(folder / "data", BANDAI)
    clips_of(data)
    return Kind(list((data / PACKED).glob("train.*.json")), lambda: clips_of(data), exact=True)


@kind
def pack_array(folder):
    """No checksum: to read all of it would take what the pack is there to save."""
    data = make_dataset(folder / "data", BANDAI)
    clips_of(data)

    def form(clips):
        return [(name, motion.shape, captions) for name, motion, captions in clips]

    return Kind(list((data / PACKED).glob("train.*.f32")), lambda: clips_of(data), form=form)


@kind
def statistics(folder):
    data = make_dataset(folder / "data", BANDAI)
    return Kind(
        [data / "Mean.npy", data / "Std.npy"], lambda: read_statistics(data, BANDAI), form=lambda two: two[0].shape
    )


@kind
def text_features(folder):
    encoder = tiny_text_encoder().requires_grad_(False)
    encoder.source = "tiny"
    text_table(encoder, CAPTIONS, folder / "features", CPU)

    def read():
        return text_table(encoder, CAPTIONS, folder / "features", CPU)(CAPTIONS)

    return Kind(
        sorted((folder / "features").iterdir()), read,
        form=lambda features: (features.sentence.shape, features.sentence.dtype, features.words.dtype),
    )  # fmt: skip


@kind
def codebook(folder):
    data = make_dataset(folder / "data", BANDAI)
    model, path = tiny_vq(), folder / "net_last.pth"
    save_checkpoint(path, vqvae_checkpoint(model, BANDAI.name))
    clips = read_split(BANDAI, data, "train")
    codebook_tokens(model, clips, path, CPU)
    return Kind(sorted((folder / "codebook").iterdir()), lambda: codebook_tokens(model, clips, path, CPU), exact=True)


# --- What people bring


@kind
def motion_npy(folder):
    path = folder / "walk.npy"
    np.save(path, joints_to_features(walking(BANDAI, 31), BANDAI))
    return Kind([path], lambda: read_motion(path, BANDAI), form=lambda motion: motion.frames)


@kind
def joint_map(folder):
    path = Path(shutil.copy(Path(humanml3d.__file__).with_name("joint_maps") / "cmu.json", folder))
    return Kind([path], lambda: read_map(path), form=lambda found: sorted(found))


@kind
def word_vectors(folder):
    words = ["unk", "sos", "eos", *(f"word{i}" for i in range(40))]
    np.save(folder / "our_vab_data.npy", np.zeros((len(words), 5), np.float32))
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(words))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: i for i, word in enumerate(words)}))
    return Kind(sorted(folder.iterdir()), lambda: read_glove(folder), form=lambda found: found.vectors.dtype)


def openai_clip(folder):
    write_merges(folder / MERGES_FILE)
    return write_openai(folder / "ViT-B-32.pt", tiny_tower(hidden_size=64, intermediate_size=256, num_hidden_layers=1))


@kind
def clip_of_openai(folder):
    path = openai_clip(folder)

    def read():  # of all that load_clip does, what opens the file
        try:
            return torchscript_weights(path)
        except Exception as error:  # which load_clip makes one line of
            raise ValueError(str(error) or type(error).__name__) from error

    return Kind([path], read, exact=True)


@kind
def clip_vocabulary(folder):
    path = openai_clip(folder)
    return Kind([folder / MERGES_FILE], lambda: load_clip(str(path)).tower, exact=True)


# --- Published files that preparation reads


@kind
def amass_npz(folder):
    path = folder / "walk.npz"
    np.savez(
        path,
        poses=np.zeros((40, 156)),
        trans=np.zeros((40, 3)),
        betas=np.zeros(16),
        gender="male",
        mocap_framerate=40.0,
    )

    def read():
        try:
            return humanml3d.read_sequence(path.read_bytes())
        except humanml3d.BROKEN_FILE as error:
            raise ValueError(str(error) or type(error).__name__) from error

    return Kind([path], read, exact=True)


@kind
def body_model(folder):
    path = folder / "model.npz"
    np.savez(path, **MODELS["male"])

    def read():
        return dict(humanml3d.load_body_model(path, CPU).named_buffers())

    return Kind([path], read, exact=True)


@kind
def humanml3d_index(folder):
    path = folder / "index.csv"
    rows = [f"./pose_data/KIT/3/walk{i}_poses.npy,0,{100 + i},{i:06d}.npy" for i in range(20)]
    path.write_text("source_path,start_frame,end_frame,new_name\n" + "\n".join(rows) + "\n")
    return Kind([path], lambda: humanml3d.read_index(path))


@kind
def humanml3d_texts(folder):
    """What a zip holds has sums, the list of it has none: members at its end may be lost, which are missed later."""
    path = folder / "texts.zip"
    zip_of(path, {f"texts/{i:06d}.txt": "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n" * 9 for i in range(9)})

    def read():
        shutil.rmtree(folder / "out", ignore_errors=True)
        humanml3d.copy_texts(path, folder / "out")
        return contents(folder / "out")

    return Kind([path], read, form=lambda texts: set(texts.values()))


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


BVH = {
    f"dataset-1_walk_normal_{i:03d}": " ".join(map(str, np.random.default_rng(i).integers(999, size=300)))
    for i in range(5)
}


@kind
def bandai_zip(folder):
    """As above: no other clips than there were."""
    zip_of(folder / "a.zip", {f"data/{name}.bvh": text for name, text in BVH.items()})
    return Kind(
        [folder / "a.zip"], lambda: dict(find_clips(folder / "a.zip")), form=lambda clips: clips.items() <= BVH.items()
    )


def tar_kind(folder, mode):
    path = folder / f"a.tar.{mode}"
    with tarfile.open(path, f"w:{mode}") as archive:
        for name, text in BVH.items():
            member = tarfile.TarInfo(f"data/{name}.bvh")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return Kind([path], lambda: dict(find_clips(path)), exact=True)


@kind
def bandai_tar_gz(folder):
    return tar_kind(folder, "gz")


@kind
def bandai_tar_xz(folder):
    return tar_kind(folder, "xz")


@kind
def bandai_tar_bz2(folder):
    return tar_kind(folder, "bz2")


@kind
def bandai_tar(folder):
    """No checksums but of the headers."""
    return Kind(tar_kind(folder, "").files, lambda: dict(find_clips(folder / "a.tar.")), form=type)


@kind
def download_zip(folder):
    """As download.py unpacks it: what is written is whole."""
    entry = dataclasses.replace(
        download.DOWNLOADS["glove"][0], places=dict.fromkeys(download.GLOVE_FILES, str(folder / "out"))
    )
    path = folder / "glove.zip"
    zip_of(path, {f"glove/{name}": name * 100 for name in download.GLOVE_FILES})
    expected = {name: (name * 100).encode() for name in download.GLOVE_FILES}

    def read():
        shutil.rmtree(folder / "out", ignore_errors=True)
        try:
            download.unpack(entry, path)
        except (download.Unfinished, OSError) as error:  # `bring` makes one of the other
            raise ValueError(str(error)) from error
        finally:
            there = contents(folder / "out")
            assert there.items() <= expected.items()
        return len(there) <= len(expected)

    return Kind([path], read)


# --- Damaging them


def damaged(content: bytes, moments: random.Random) -> bytes:
    """Cut off somewhere, or with one to four bytes of it changed; every third change is of a single bit."""
    if not content or moments.random() < 0.25:
        return content[: moments.randrange(len(content))] if content else content
    changed = bytearray(content)
    for _ in range(moments.choice((1, 1, 2, 4))):
        place = moments.randrange(len(changed))
        # the first bytes say what all others are
        place = moments.randrange(min(200, len(changed))) if moments.random() < 0.3 else place
        changed[place] ^= 1 << moments.randrange(8) if moments.random() < 1 / 3 else moments.randrange(1, 256)
    return bytes(changed)


@pytest.fixture
def patient():
    """No reading may hang."""

    def hang(*_):
        raise TimeoutError("reading takes too long")

    handler = signal.signal(signal.SIGALRM, hang)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.fixture
def bounded(patient):
    """And all of a kind together take little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < ROOM


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(tmp_path, monkeypatch, capfd, bounded, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = KINDS[name](tmp_path)
    expected = made.read()
    expected_flat, expected_form = flat(expected), made.form(expected)
    assert flat(made.read()) == expected_flat, "the control: undamaged, it is always the same"
    before = {path: path.read_bytes() for path in made.files}
    moments, refused = random.Random(name), 0
    for i in range(COUNT):
        path = moments.choice(made.files)
        changed = damaged(before[path], moments)
        path.write_bytes(changed)
        signal.alarm(PATIENCE)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a warning is a second line on stderr
                found = made.read()
        except ValueError as error:
            assert str(error).strip(), f"damage {i} of {path.name}: an error without words"
            refused += 1
        except Exception as error:
            pytest.fail(f"damage {i} of {path.name} ends in {type(error).__name__}: {error}")
        else:
            assert made.form(found) == expected_form, f"damage {i} of {path.name}"
            assert not made.exact or flat(found) == expected_flat, f"damage {i} of {path.name} is not seen"
        signal.alarm(0)
        for path, content in before.items():
            path.write_bytes(content)
    print(f"{name}: {refused} of {COUNT} refused")


# --- Another version


MISSING = object()
INSTEAD = (MISSING, None, "x", -1, 0, 2.5, [], {}, [1, 2], torch.zeros(3))
WEIGHTS = ("net", "trans", "length", "state", "model", "movement_encoder", "motion_encoder", "text_encoder")


def places(content: dict, above: tuple = ()) -> list[tuple]:
    """Where all values of nested dicts are; of weights, of which there are many of a kind, the first two."""
    names = list(content)[: 2 if above and above[-1] in WEIGHTS else None]
    return [
        place
        for name in names
        for place in [
            (*above, name),
            *(places(content[name], (*above, name)) if isinstance(content[name], dict) else []),
        ]
    ]


def with_other(content: dict, place: tuple, value: Any) -> dict:
    """The same nested dicts with another value, or none, at a place."""
    first, *rest = place
    if rest:
        return {**content, first: with_other(content[first], rest, value)}
    return {name: inner for name, inner in {**content, first: value}.items() if inner is not MISSING}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_of_halves", "transformer", "lengths", "judge", "state"])
def test_checkpoints_of_another_version(tmp_path, monkeypatch, patient, name):
    """Each value of a file gone, of another type, or out of its range: one line that names the file, or a network."""
    monkeypatch.setattr("models.clip.load_clip", lambda source: tiny_text_encoder())
    made = KINDS[name](tmp_path)
    (path,) = made.files
    content = load_checkpoint(path)
    save_checkpoint(path, with_other(content, ("from_the_future",), 1))
    made.read()
    for place in places(content):
        for value in INSTEAD:
            save_checkpoint(path, with_other(content, place, value))
            signal.alarm(PATIENCE)
            try:
                made.read()
            except ValueError as error:
                assert str(tmp_path) in str(error) and "\n" not in str(error), f"{place} {value}"
            except Exception as error:
                pytest.fail(f"{'.'.join(place)} {value} ends in {type(error).__name__}: {error}")
    config = content.get("config")
    if config:
        save_checkpoint(path, {**content, "config": {**config, "from_the_future": 1}})
        with pytest.raises(ValueError, match=r"written by another version.*from_the_future"):
            made.read()
