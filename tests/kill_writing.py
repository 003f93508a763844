"""Writing that is killed at random moments leaves whole files and no processes, and the next run goes on.

    OMP_NUM_THREADS=1 python -m tests.kill_writing                  # 50 kills of each kind, some minutes
    OMP_NUM_THREADS=1 python -m tests.kill_writing --kills 5 --what pack

A process writes the same files over and over, each time with other contents, and gets SIGKILL after a random time. Then
every file under its final name must be one that an undisturbed process wrote, byte for byte, and reading must give what
it should; the next process begins on what the killed one left. Unfinished files keep a name with a dot before it, and
nothing takes them for results. tests/test_killed_writing.py does so with a few kills.
"""

import os
import random
import select
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import edit
import generate
from dataset.humanml import Caption, Clip, read_split
from dataset.motion_file import motion_paths
from dataset.pack import PACKED
from dataset.prepare import bandai
from dataset.prepare.layout import features_path
from dataset.spec import BANDAI
from dataset.text_features import text_table
from dataset.tokens import codebook_tokens, encode_clips
from models.vqvae import vqvae_checkpoint
from options.flags import flag, parse
from tests.dataset.test_bandai import bvh_text
from tests.kill_resume import begin, ended_within
from tests.motions import walking
from tests.tiny import CAPTIONS, contents, make_checkpoints, make_dataset, run_script, tiny_text_encoder, tiny_vq
from utils.checkpoint import save_checkpoint
from utils.files import write_whole
from utils.motion import joints_to_features

CPU = torch.device("cpu")
PATIENCE = 30  # seconds that the processes of a killed one may take to end


@dataclass(frozen=True)
class Writing:
    """Something that writes files below `folder`."""

    folder: Path
    write: Callable[[], None]  # once through; it is called again and again
    faults: Callable[[], list[str]]  # of what is there at any moment
    longest: float  # seconds that it lives at most


# --- What writes


def exports(folder: Path) -> Writing:
    """generate.py and edit.py in every format, the same names with two seeds."""
    out, tiny = folder / "out", make_checkpoints(folder / "tiny")
    clip = folder / "clip.npy"
    np.save(clip, joints_to_features(walking(BANDAI, 25), BANDAI))
    common = [*tiny.flags, "--device", "cpu", "--out-dir", out, "--formats", "html,npy,npz,bvh,gif"]
    commands = [
        (script, [*flags, *common, "--seed", seed])
        for seed in (1, 2)
        for script, flags in (
            (generate, ["--text", CAPTIONS[0], "--length", 16]),
            (edit, ["inbetween", "--motion", clip]),
        )
    ]
    known = set()
    for script, flags in commands:
        run_script(script, *flags)
        known |= contents(out).items()

    def write() -> None:
        for script, flags in commands:
            run_script(script, *flags)

    def faults() -> list[str]:
        files = whole(out)
        results = {path.name for path in motion_paths(out)}  # what edit.py takes of a folder
        strange = [f"{name} would be edited" for name in sorted(results - files.keys())]
        return strange + [f"{name} is not whole" for name, content in files.items() if (name, content) not in known]

    return Writing(out, write, faults, 2.0)


def codebook(folder: Path) -> Writing:
    """The ids of two tokenizers that lie in one folder, as net_last.pth and net_best_fid.pth do."""
    generator = np.random.default_rng(0)
    clips = [
        Clip(f"clip{i}", generator.standard_normal((40 + 4 * i, BANDAI.dim), np.float32), (Caption("a", ()),))
        for i in range(12)
    ]
    pairs = [(tiny_vq(seed=seed), folder / f"net_{seed}.pth") for seed in range(2)]
    for model, path in pairs:
        save_checkpoint(path, vqvae_checkpoint(model, BANDAI.name))
    expected = [encode_clips(model, clips, CPU) for model, _ in pairs]
    order = random.Random(0)

    def write() -> None:
        for model, path in pairs:
            codebook_tokens(model, clips, path, CPU)

    def faults() -> list[str]:
        found = []
        for i, clip in enumerate(clips):
            path = folder / "codebook" / f"{clip.name}.npy"
            if path.exists() and np.load(path).tolist() not in [ids[i].tolist() for ids in expected]:
                found.append(f"{path.name} holds other ids")
        which = order.randrange(2)
        ids = codebook_tokens(pairs[which][0], clips, pairs[which][1], CPU)
        wrong = [clip.name for clip, a, b in zip(clips, ids, expected[which]) if not torch.equal(a, b)]
        return found + [f"{name} was read as the other tokenizer's ids" for name in wrong]

    return Writing(folder / "codebook", write, faults, 0.4)


def pack(folder: Path) -> Writing:
    """A split whose motions change before it is packed again."""
    make_dataset(folder / "data", BANDAI, train=24)
    data = folder / "data"
    names = (data / "train.txt").read_text().split()

    def write() -> None:
        for name in names:
            path = features_path(data, name)
            turned = np.load(path)[::-1]
            write_whole(path, lambda temporary, x=turned: np.save(temporary, x))
            read_split(BANDAI, data, "train")

    def faults() -> list[str]:
        found = []
        for index in (data / PACKED).glob("train.*.json"):  # none but whole ones, whatever their key
            if not index.read_text(encoding="utf-8").endswith("}"):
                found.append(f"{index.name} is not whole")
        clips = {clip.name: clip.motion for clip in read_split(BANDAI, data, "train")}
        wrong = [name for name in names if not np.array_equal(clips[name], np.load(features_path(data, name)))]
        return found + [f"{name} was read as something else" for name in wrong]

    return Writing(data, write, faults, 0.8)


def text_features(folder: Path) -> Writing:
    """A table whose files are taken away before it is made again."""
    encoder = tiny_text_encoder().requires_grad_(False)
    encoder.source = "tiny"
    texts = [f"{caption} {i}" for caption in CAPTIONS for i in range(4)]
    out = folder / "features"
    text_table(encoder, texts, out, CPU)
    known = contents(out)
    features = text_table(encoder, texts, out, CPU)(texts)

    def write() -> None:
        for name in known:
            (out / name).unlink(missing_ok=True)
            text_table(encoder, texts, out, CPU)

    def faults() -> list[str]:
        found = [f"{name} is not whole" for name, content in whole(out).items() if known.get(name) != content]
        again = text_table(encoder, texts, out, CPU)(texts)
        same = all(torch.equal(a, b) for a, b in zip(features, again))
        return found + ([] if same else ["the table gives other features"])

    return Writing(out, write, faults, 0.4)


def preparation(folder: Path) -> Writing:
    """BVH files to a dataset, in processes of its own; what is there is kept, so it ends as if nothing had been."""
    source, out, done = folder / "bvh", folder / "out", folder / "done"
    source.mkdir()
    for i in range(5):
        name = f"dataset-1_walk-turn-left_normal_{i:03d}"
        (source / f"{name}.bvh").write_text(bvh_text(62 + 3 * i, phase=0.4 * i))
    bandai.prepare(source, done)
    known = contents(done)

    def write() -> None:
        bandai.prepare(source, out)
        if contents(out).keys() - known.keys() != set(unfinished(out)) or known.items() - contents(out).items():
            sys.exit("a preparation that went on ended otherwise than one left alone")
        out.rename(folder / f"old.{os.getpid()}.{time.time()}")  # at once: the next begins with nothing

    def faults() -> list[str]:
        for old in folder.glob("old.*"):
            shutil.rmtree(old)
        return [f"{name} is not whole" for name, content in whole(out).items() if known.get(name) != content]

    return Writing(out, write, faults, 3.0)


KINDS = {
    "export": exports,
    "codebook": codebook,
    "pack": pack,
    "text-features": text_features,
    "preparation": preparation,
}


# --- Killing it


def unfinished(folder: Path) -> list[str]:
    """Temporary files, as utils/files.py names them."""
    return [name for name in contents(folder) if Path(name).name.startswith(".")]


def whole(folder: Path) -> dict[str, bytes]:
    """All files that have their final names."""
    return {name: content for name, content in contents(folder).items() if not Path(name).name.startswith(".")}


def kill_writing(writing: Writing, kills: int, seed: int) -> tuple[list[str], int]:
    """Faults after each kill, and how many kills came in the midst of a file."""
    moments, found, met, before = random.Random(seed), [], 0, len(unfinished(writing.folder))

    def forever() -> None:
        while True:
            writing.write()

    for kill in range(kills):
        reading, writing_end = os.pipe()  # held open by the process and by all that it starts
        pid = begin(forever)
        os.close(writing_end)
        status = ended_within(pid, moments.uniform(0, writing.longest))
        if status is not None:
            found.append(f"kill {kill}: it ended before, with status {status}")
        left, _, _ = select.select([reading], [], [], PATIENCE)
        if not left:
            found.append(f"kill {kill}: processes that it had started are still there after {PATIENCE} s")
        os.close(reading)
        now = len(unfinished(writing.folder))
        met, before = met + (now > before), now
        found += [f"kill {kill}: {fault}" for fault in writing.faults()]
    pid = begin(writing.write)
    status = ended_within(pid, float("inf"))
    if status:
        found.append(f"after all kills it ended with status {status}")
    return found + writing.faults(), met


@dataclass(frozen=True)
class KillOptions:
    kills: int = flag(50, "of each kind", least=0)
    what: str = flag("all", "which", choices=("all", *KINDS))
    seed: int = flag(0, "of the moments")


def main() -> None:
    options = parse(KillOptions, __doc__)
    torch.set_num_threads(1)
    found = []
    for name, make in KINDS.items():
        if options.what in ("all", name):
            with tempfile.TemporaryDirectory() as folder:
                begun = time.time()
                faults, met = kill_writing(make(Path(folder)), options.kills, options.seed)
                print(
                    f"{name}: {options.kills} kills, {met} in the midst of a file, {len(faults)} faults, "
                    f"{time.time() - begun:.0f} s",
                    flush=True,
                )
                found += [f"{name}: {fault}" for fault in faults]
    print("\n".join(found) or "always whole")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
