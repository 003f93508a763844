"""A split as one memory-mapped array beside the data, so that a start opens two files and not two for every clip.

    FOLDER/.packed/SPLIT.KEY.f32     [frames, D] float32, the motions one after another
    FOLDER/.packed/SPLIT.KEY.json    what lies where: the reader's own, with the number of "frames"; before it the
                                     checksum of its bytes, as a line of its own

KEY stands for the names, sizes and times of the files that went in: a folder that changed asks for another pack. Each
file appears whole or not at all, the index last, so processes that pack at once write the same files twice, no worse.
A pack may be removed at any time, and its index damaged: the next start writes it again. The array has no checksum, for
all of it would have to be read; it must have the right size.
"""

import glob
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.files import write_text, write_whole

PACKED = ".packed"
TICK = 0.01  # seconds: a file system's clock; two writes within a tick have the same time
ABANDONED = 86400.0  # seconds after which another process's unfinished file is nobody's


def fingerprint(facts: object, files: Iterable[str]) -> str:
    """A key that changes with the repr of `facts` and with the size or time of any file, one that is missing too."""
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for file in files:
        try:
            found = os.stat(file)
            digest.update(b"%d %d," % (found.st_size, found.st_mtime_ns))
        except OSError:
            digest.update(b"missing,")
    return digest.hexdigest()


def open_pack(folder: Path, split: str, key: str, dim: int) -> tuple[np.ndarray, dict] | None:
    """The array [frames, D] and the index of a pack; None where there is none, or a damaged one."""
    data, index_path = _paths(folder, split, key)
    try:
        checksum, _, content = index_path.read_bytes().partition(b"\n")
        if checksum != _checksum(content):
            return None
        index = json.loads(content)
        frames = index["frames"]
        if data.stat().st_size != frames * dim * np.float32().itemsize:
            return None
        if not frames:
            return np.empty((0, dim), np.float32), index
        # Copy on write: torch takes such an array without complaint, and what is written to it stays in this process.
        return np.memmap(data, np.float32, mode="c", shape=(frames, dim)).view(np.ndarray), index
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_pack(folder: Path, split: str, key: str, fill: Callable[[BinaryIO], dict]) -> None:
    """Write a pack and remove older ones of the split: `fill` writes the motions to an open file and gives the index.

    Raises OSError where the folder cannot be written to or is full.
    """
    data, index_path = _paths(folder, split, key)
    index = {}

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            index.update(fill(file))

    write_whole(data, write)
    content = json.dumps(index, ensure_ascii=False)
    write_text(index_path, f"{_checksum(content.encode()).decode()}\n{content}")
    time.sleep(TICK)  # whoever changes a file from now on gives it another time than the one in the key
    _remove_others(data.parent, split, key)


def _checksum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)


def _paths(folder: Path, split: str, key: str) -> tuple[Path, Path]:
    return folder / PACKED / f"{split}.{key}.f32", folder / PACKED / f"{split}.{key}.json"


def _remove_others(packed: Path, split: str, key: str) -> None:
    """Packs of the split with another key, and what an interrupted run left long ago. A process that has an old pack
    open keeps it: the bytes go when the last one closes it."""
    pattern = f"{glob.escape(split)}.{'[0-9a-f]' * len(key)}"
    old = [path for suffix in ("f32", "json") for path in packed.glob(f"{pattern}.{suffix}") if key not in path.name]
    for path in packed.glob(f".{pattern}.*"):
        if time.time() - path.stat().st_mtime > ABANDONED:
            old.append(path)
    for path in old:
        path.unlink(missing_ok=True)
