"""How long a start takes to have its data, and how much memory: HumanML3D's size, made up.

    python -m benchmarks.dataset_load                     # 24,000 clips: needs 7 GB of disk for a while
    python -m benchmarks.dataset_load --data-root DIR     # on a folder that is there, left as it is but for its pack

Every start is a fresh process, on one thread: cold (no pack, files not in the system's cache), warm (the pack is there
and in the cache), and once more with the pack out of the cache, as after a reboot. Each reads the split, builds
Windows and draws batches. Memory is what /proc/self/smaps_rollup says (Linux): `own` pages are this process's alone
and cannot be dropped (Private_Dirty), `mapped` ones are clean pages of files that nobody else has open just now
(Private_Clean): the system takes them back whenever it needs room, and other processes share them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.pack import PACKED
from dataset.prepare.layout import features_path, text_line, text_path
from dataset.spec import T2M
from options.flags import flag, parse
from utils.errors import fail

LENGTHS = (40, 200)  # frames, the last not included
TEXTS = 3  # a clip, as in HumanML3D
WORDS = [
    "a",
    "person",
    "the",
    "man",
    "walks",
    "forward",
    "slowly",
    "then",
    "turns",
    "left",
    "waves",
    "with",
    "his",
    "right",
    "hand",
    "and",
    "sits",
    "down",
]
BATCHES, BATCH, WINDOW, UNIT = 100, 256, 64, 4


@dataclass(frozen=True)
class DatasetLoadOptions:
    clips: int = flag(24000, "how many to make up")
    data_root: str | None = flag(None, "folder with a split train of t2m to measure instead")
    within: str | None = flag(None, "where to make the folder (default: the system's temporary folder)")
    json: str | None = flag(None, "file to write the figures to as well")
    measure: bool = flag(False, "one start in this process, figures as JSON: what the benchmark runs itself")


def make_folder(folder: Path, clips: int) -> None:
    """Clips of random features and random captions, all in the split train, and their statistics."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((5000, T2M.dim), dtype=np.float32)
    lengths = rng.integers(*LENGTHS, clips)
    (folder / "new_joint_vecs").mkdir(parents=True)
    (folder / "texts").mkdir()
    for i, length in enumerate(tqdm(lengths.tolist(), desc="making clips", unit="clip", disable=None)):
        first = int(rng.integers(len(block) - length))
        np.save(features_path(folder, f"{i:06d}"), block[first : first + length])
        captions = (rng.choice(WORDS, 12).tolist() for _ in range(TEXTS))
        lines = (text_line(" ".join(words), " ".join(f"{word}/NOUN" for word in words)) for words in captions)
        text_path(folder, f"{i:06d}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "train.txt").write_text("".join(f"{i:06d}\n" for i in range(clips)))
    np.save(folder / "Mean.npy", block.mean(axis=0))
    np.save(folder / "Std.npy", block.std(axis=0))


def memory() -> dict[str, float]:
    """Of this process, in MiB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    names = {"rss": "Rss", "own": "Private_Dirty", "mapped": "Private_Clean"}
    return {name: kilobytes[key] / 1024 for name, key in names.items()}


def one_start(folder: Path) -> dict[str, dict[str, float]]:
    """Seconds and memory after each thing that a training script does with its data."""
    begun = time.perf_counter()
    import torch

    from dataset.humanml import read_split
    from dataset.normalizer import read_statistics
    from dataset.windows import Windows

    found = {}

    def note(what: str) -> None:
        nonlocal begun
        seconds = time.perf_counter() - begun
        os.sync()  # a page of a file that was just written counts as a process's own until the disk has it
        found[what] = {"seconds": seconds} | memory()
        begun = time.perf_counter()

    torch.set_num_threads(1)
    note("import torch")
    clips = read_split(T2M, folder, "train")
    note("read_split")
    windows = Windows(clips, *map(torch.from_numpy, read_statistics(folder, T2M)), WINDOW, UNIT)
    note("Windows")
    generator = torch.Generator().manual_seed(0)
    for _ in range(BATCHES):
        windows.draw(BATCH, generator)
    note(f"{BATCHES} batches of {BATCH}")
    return found


def out_of_cache(*folders: Path) -> None:
    """Ask the system to forget what it holds of these folders' files, so that they come from the disk again."""
    os.sync()  # only what is written can be forgotten
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure_starts(folder: Path) -> dict[str, dict]:
    """One start of each kind, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.dataset_load", "--measure", "--data-root", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = {}
    for kind in ("cold", "warm", "warm, pack not in the cache"):
        if kind == "cold":
            shutil.rmtree(folder / PACKED, ignore_errors=True)
        if kind != "warm":
            out_of_cache(folder)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        found[kind] = json.loads(done.stdout)
        show(kind, found[kind])
    return found


def show(kind: str, figures: dict[str, dict[str, float]]) -> None:
    print(f"\n{f'start: {kind}':34}{'seconds':>9}{'RSS MiB':>10}{'own MiB':>10}{'mapped MiB':>12}")
    for what, row in figures.items():
        print(f"  {what:32}{row['seconds']:9.2f}{row['rss']:10.0f}{row['own']:10.0f}{row['mapped']:12.0f}", flush=True)


def main() -> None:
    options = parse(DatasetLoadOptions, __doc__)
    if not Path("/proc/self/smaps_rollup").exists():
        fail("this reads memory from /proc/self/smaps_rollup, which only Linux has")
    if options.measure:
        if not options.data_root:
            fail("--measure wants --data-root")
        print(json.dumps(one_start(Path(options.data_root))))
        return
    if options.data_root:
        found = measure_starts(Path(options.data_root))
    else:
        with tempfile.TemporaryDirectory(dir=options.within) as temporary:
            folder = Path(temporary) / "HumanML3D"
            make_folder(folder, options.clips)
            found = measure_starts(folder)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
