"""Run edit.ipynb from top to bottom and put what its cells give into it, as its readers see it.

python -m docs.notebook

It needs no Jupyter: cells are plain Python, and pictures show themselves (`utils.visualize.Picture`). The tests run the
notebook the same way.
"""

import ast
import base64
import contextlib
import io
import json
from pathlib import Path

from utils.files import write_text

NOTEBOOK = Path(__file__).resolve().parent.parent / "edit.ipynb"


def read_notebook() -> dict:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def run_notebook(notebook: dict) -> dict:
    """The notebook with the outputs of its code cells, which share one namespace. What a cell raises, this raises."""
    namespace, cells, count = {"__name__": "__main__"}, [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            outputs = run_cell("".join(cell["source"]), namespace, count)
            cell = cell | {"execution_count": count, "outputs": outputs}
        cells.append(cell)
    return notebook | {"cells": cells}


def run_cell(source: str, namespace: dict, count: int) -> list[dict]:
    """What a cell prints, and what its last line is, where that is an expression: as Jupyter keeps them."""
    name = f"{NOTEBOOK.name}, code cell {count}"
    body = ast.parse(source, name).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), name, "exec"), namespace)
        if last:
            value = eval(compile(last, name, "eval"), namespace)
    outputs = []
    if printed.getvalue():
        outputs.append(
            {"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)}
        )
    if value is not None:
        outputs.append(
            {"data": shown(value), "execution_count": count, "metadata": {}, "output_type": "execute_result"}
        )
    return outputs


def shown(value: object) -> dict:
    """A value as text and, if it has one, as a picture."""
    data = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_png_"):
        data["image/png"] = base64.b64encode(value._repr_png_()).decode()
    return dict(sorted(data.items()))


def main() -> None:
    notebook = run_notebook(read_notebook())
    print(write_text(NOTEBOOK, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"))


if __name__ == "__main__":
    main()
