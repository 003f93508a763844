"""Writing files so that an interrupted run leaves the old one whole."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Call `write` with a temporary path beside `path`, then rename it over `path`; what fails leaves nothing behind.

    The temporary name keeps the suffix, which numpy and matplotlib look at.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_whole` for UTF-8 text."""
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
