"""Tables of figures: how they look, and the files under benchmarks/results that keep them."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Table:
    """What one benchmark found."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in (self.columns, ["---"] * len(self.columns), *self.rows)]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"


def machine() -> str:
    """One line: processor, threads, what it multiplies fast, how busy it is, GPU, versions."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line.split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), [])
    found = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} threads "
        f"of {len(names) or '?'} cores ({', '.join(found) or 'no AVX-512'}){load}, {gpu}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def keep(name: str, tables: Sequence[Table]) -> Path:
    """Append tables to the results' file of that name, under the date and the machine."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.md"
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"## {date.today()}: {machine()}\n\n" + "\n".join(table.markdown() for table in tables) + "\n")
    return path
