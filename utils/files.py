"""Writing files so that an interrupted run leaves the old one whole."""

import errno
import hashlib
import lzma
import os
import shutil
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

FORMATS = ("html", "npy", "npz", "bvh", "mp4", "gif")  # of motions, as utils/export.py writes them
# What reading a damaged zip or tar archive ends with: the library's own errors, and those of what its bytes seem to
# say, as a way of packing that nobody knows, or a password. Damaged gzip and bzip2 are OSErrors besides.
BROKEN_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, EOFError, NotImplementedError,
    OverflowError, RuntimeError, ValueError,
)  # fmt: skip
FULL = 64 * 1024  # bytes: with less than that free, what a library says of a file it could not write is a full disk's


def write_whole(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Call `write` with a temporary path beside `path`, then rename it over `path`; what fails leaves nothing behind.

    The temporary name keeps the suffix, which numpy and matplotlib look at. Raises OSError ENOSPC for a full disk,
    whatever the library that met it says: numpy and torch have words of their own for it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if shutil.disk_usage(path.parent).free < FULL:
            raise OSError(errno.ENOSPC, "no space left on the disk", str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_whole` for UTF-8 text."""
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_zip(file: str | Path | BinaryIO) -> None:
    """Raises ValueError, or one of BROKEN_ARCHIVE, where the bytes of a zip are not those that were written.

    Readers that take a member for what it seems to be find out late, or, as torch, never.
    """
    with zipfile.ZipFile(file) as archive:
        if name := archive.testzip():
            raise ValueError(f"the bytes of {name} in it are not those that were written")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
