"""edit.ipynb runs from top to bottom as it is, leaves no files behind, and is committed with what its cells give."""

import base64
import os
import sys
import time
from pathlib import Path

import pytest

from docs.notebook import read_notebook, run_cell, run_notebook

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 300  # seconds: what its readers are promised
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PNG = b"\x89PNG\r\n\x1a\n"


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def pictures(notebook: dict) -> dict[str, bytes]:
    """The picture of each cell that gives one."""
    return {
        cell["id"]: base64.b64decode(output["data"]["image/png"])
        for cell in code_cells(notebook)
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    }


def drawing(notebook: dict) -> set[str]:
    """Cells that end with a picture, by their source."""
    calls = ("strips_picture(", "compare")
    return {cell["id"] for cell in code_cells(notebook) if any(line.startswith(calls) for line in cell["source"])}


@pytest.fixture
def written(monkeypatch):
    """Files and folders of the repository that Python writes meanwhile, byte code aside."""
    found, watching = [], True

    def watch(event: str, args: tuple) -> None:
        if not watching or event not in ("open", "os.mkdir", "os.rename") or not isinstance(args[0], str | os.PathLike):
            return
        mode = args[1] if event == "open" and isinstance(args[1], str) else ""
        if event == "open" and not set(mode) & set("wax+") and not args[2] & WRITING:
            return
        path = os.path.abspath(args[0])
        if path.startswith(f"{ROOT}{os.sep}") and "__pycache__" not in path:
            found.append(path)

    sys.addaudithook(watch)  # there is no removing it: `watching` ends it
    yield found
    watching = False


def test_it_runs_as_it_is(monkeypatch, written):
    monkeypatch.chdir(ROOT)
    notebook, began = read_notebook(), time.monotonic()
    result = run_notebook(notebook)
    assert time.monotonic() - began < LIMIT
    assert not written
    assert pictures(result).keys() == drawing(notebook)
    assert all(picture.startswith(PNG) for picture in pictures(result).values())


def test_it_is_committed_with_its_outputs():
    notebook = read_notebook()
    assert len(drawing(notebook)) >= 12
    assert pictures(notebook).keys() == drawing(notebook)
    assert all(picture.startswith(PNG) for picture in pictures(notebook).values())
    assert [cell["execution_count"] for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    kinds = {output["output_type"] for cell in code_cells(notebook) for output in cell["outputs"]}
    assert kinds <= {"execute_result", "stream"}
    assert (ROOT / "edit.ipynb").stat().st_size < 1.5e6


def test_every_task_is_shown_on_captured_and_generated_motion():
    ids = drawing(read_notebook())
    for task in ("inbetween", "outpaint", "prefix", "suffix", "range", "upper", "long"):
        assert {f"{task}-real", f"{task}-generated"} <= ids


def test_a_cell_gives_what_jupyter_keeps():
    names = {}
    assert run_cell("x = 3", names, 1) == []
    [output] = run_cell("x\n", names, 2)
    assert output["data"] == {"text/plain": ["3"]} and output["execution_count"] == 2
    [output] = run_cell("print('a')\nprint(x)", names, 3)
    assert output == {"name": "stdout", "output_type": "stream", "text": ["a\n", "3\n"]}
    with pytest.raises(ZeroDivisionError):
        run_cell("x / 0", names, 4)
