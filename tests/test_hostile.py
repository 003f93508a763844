"""Files that are meant to do harm: nothing in them runs, and nothing is written where they say.

Elsewhere: checkpoints (tests/utils/test_checkpoint.py), pickles of word vectors (tests/dataset/test_evaluation.py),
body models (tests/dataset/test_humanml3d.py), downloads (tests/dataset/test_download.py), uploads (tests/test_demo.py).
"""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.evaluation import read_glove
from dataset.humanml import load_array, read_split, split_names
from dataset.motion_file import read_motion
from dataset.prepare import humanml3d
from dataset.prepare.bandai import find_clips
from dataset.spec import BANDAI
from dataset.text_features import text_table
from dataset.tokens import codebook_tokens
from models.clip import load_clip
from models.vqvae import vqvae_checkpoint
from tests.tiny import CAPTIONS, contents, make_dataset, tiny_text_encoder, tiny_vq
from tests.utils.test_checkpoint import Malicious
from utils.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def evil_npy(path, trace):
    """An array of one object that makes a folder where it is unpickled."""
    np.save(path, np.array([Malicious(trace)], dtype=object), allow_pickle=True)


# --- Arrays


def test_the_control(tmp_path):
    evil_npy(tmp_path / "a.npy", tmp_path / "was_here")
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "was_here").exists()


@pytest.mark.parametrize("plain", [False, True], ids=["object array", "bare pickle"])
def test_arrays_do_not_run(tmp_path, plain):
    path, trace = tmp_path / "our_vab_data.npy", tmp_path / "was_here"
    evil_npy(path, trace)
    if plain:
        path.write_bytes(pickle.dumps(Malicious(trace)))
    for name in ("words", "idx"):
        (tmp_path / f"our_vab_{name}.pkl").write_bytes(pickle.dumps([]))
    for read in (load_array, lambda path: read_motion(path, BANDAI), lambda path: read_glove(path.parent)):
        with pytest.raises(ValueError, match=r"our_vab_data\.npy is no readable npy file: it holds Python objects"):
            read(path)
    assert not trace.exists()


def test_arrays_of_ours_do_not_run(tmp_path):
    """Clips, ids and text features that someone exchanged: left out, or made anew."""
    trace, data = tmp_path / "was_here", make_dataset(tmp_path / "data", BANDAI)
    names = split_names(data, "train")
    evil_npy(data / f"new_joint_vecs/{names[0]}.npy", trace)
    clips = read_split(BANDAI, data, "train")
    assert [clip.name for clip in clips] == names[1:]

    model, path = tiny_vq(), tmp_path / "net_last.pth"
    save_checkpoint(path, vqvae_checkpoint(model, BANDAI.name))
    ids = codebook_tokens(model, clips, path, CPU)
    evil_npy(tmp_path / f"codebook/{names[1]}.npy", trace)
    assert torch.equal(codebook_tokens(model, clips, path, CPU)[0], ids[0])

    encoder = tiny_text_encoder().requires_grad_(False)
    encoder.source = "tiny"
    first = text_table(encoder, CAPTIONS, tmp_path / "features", CPU)(CAPTIONS)
    for file in (tmp_path / "features").iterdir():
        evil_npy(file, trace)
    assert torch.equal(text_table(encoder, CAPTIONS, tmp_path / "features", CPU)(CAPTIONS).words, first.words)
    assert not trace.exists()


# --- Networks


class Writes(torch.nn.Module):
    """As TorchScript: writes a file when the archive is opened."""

    def __init__(self, trace: str):
        super().__init__()
        self.trace = trace
        self.weight = torch.zeros(2)

    @torch.jit.export
    def __getstate__(self):
        return self.trace, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        torch.save(state[1], state[0])
        self.trace, self.weight, self.training = state[0], state[1], state[2]

    def forward(self) -> torch.Tensor:
        return self.weight


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_code_of_a_clip_archive_does_not_run(tmp_path):
    path, trace = tmp_path / "ViT-B-32.pt", tmp_path / "was_here"
    torch.jit.script(Writes(str(trace))).save(str(path))
    with pytest.raises(ValueError, match="cannot load CLIP from"):
        load_clip(str(path))
    assert not trace.exists()
    torch.jit.load(str(path))
    assert trace.exists(), "the control: the archive does what it is meant to"


def test_a_pickle_in_a_clip_archive_does_not_run(tmp_path):
    path, trace = tmp_path / "ViT-B-32.pt", tmp_path / "was_here"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"text_projection": Malicious(trace)}))
    with pytest.raises(ValueError, match=r"it asks for \w+\.mkdir"):
        load_clip(str(path))
    assert not trace.exists()


def tar_with(path, *members):
    with tarfile.open(path, "w") as archive:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))


def test_a_checkpoint_that_is_a_tar(tmp_path):
    """As torch wrote before 0.4: torch would unpack some of it."""
    outside = tmp_path / "outside"
    members = [(name, b"x", tarfile.REGTYPE) for name in ("storages", "tensors", f"../../..{outside}", str(outside))]
    tar_with(tmp_path / "finest.tar", *members, ("pickle", pickle.dumps(Malicious(outside)), tarfile.REGTYPE))
    with pytest.raises(ValueError, match=r"finest\.tar"):
        load_checkpoint(tmp_path / "finest.tar")
    assert not outside.exists()


def test_a_pickle_that_wants_all_memory(tmp_path):
    """A few bytes, for which Python would at once make room for four thousand million objects."""
    np.save(tmp_path / "our_vab_data.npy", np.zeros((1, 3)))
    for name in ("words", "idx"):
        (tmp_path / f"our_vab_{name}.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    with pytest.raises(ValueError, match=r"our_vab_words\.pkl is no pickle of plain values: it wants room"):
        read_glove(tmp_path)


# --- Archives


CLIMBING = ["../../evil", "/tmp/mmm-evil", "b\\..\\..\\evil", "a/../../../evil"]


@pytest.mark.parametrize("name", CLIMBING)
def test_archives_write_nothing_outside(tmp_path, name):
    """Texts keep their names alone; clips of an archive are read and never unpacked."""
    text = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0"
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr(f"{name}.txt", text)
        archive.writestr(f"{name}.bvh", text)
    tar_with(tmp_path / "a.tar", (f"{name}.bvh", text.encode(), tarfile.REGTYPE))
    before = contents(tmp_path)
    humanml3d.copy_texts(tmp_path / "texts.zip", tmp_path / "in/out")
    for path in ("texts.zip", "a.tar"):
        assert [text for _, text in find_clips(tmp_path / path)] == [text]
    (made,) = contents(tmp_path).keys() - before.keys()
    assert made.startswith("in/out/texts/") and made.count("/") == 3
    assert not (tmp_path.parent / "evil.txt").exists() and not Path("/tmp/mmm-evil.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_of_a_tar_are_not_followed(tmp_path, kind):
    tar_with(tmp_path / "a.tar", ("walk.bvh", b"", kind), ("real.bvh", b"words", tarfile.REGTYPE))
    assert list(find_clips(tmp_path / "a.tar")) == [("real", "words")]


def test_names_of_a_split_lead_nowhere_else(tmp_path):
    """Ids and packs are written under the names of clips."""
    data = make_dataset(tmp_path / "data", BANDAI)
    for name in ("../../evil", "/tmp/mmm-evil", "a/../../evil"):
        (data / "train.txt").write_text(f"{name}\n")
        with pytest.raises(ValueError, match=r"train\.txt names .*evil'.*outside"):
            split_names(data, "train")
