"""The files a newcomer starts from tell the truth: dependencies, imports and the README's tree."""

import ast
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^\s*(?:- )?([A-Za-z0-9_.-]+)==(\S+)$", re.MULTILINE)
IMPORTED_AS = {"mpl_toolkits": "matplotlib", "PIL": "pillow"}  # import name to distribution name, where they differ
PATH = re.compile(r"(?<![\w<*/.-])[\w.*-]+(?:/[\w.*-]+)*/?")
SUFFIXES = {
    ".py",
    ".ipynb",
    ".md",
    ".toml",
    ".txt",
    ".yml",
    ".yaml",
    ".json",
    ".npz",
    ".npy",
    ".pth",
    ".png",
    ".gif",
    ".html",
}


def git_files(*flags: str) -> list[str]:
    """Files that git tracks (flags may ask for more) and that are still there."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *flags]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def pins(text: str) -> dict[str, str]:
    return {name.lower().replace("_", "-"): version for name, version in PIN.findall(text)}


def project_pins() -> tuple[dict[str, str], dict[str, str]]:
    """What pyproject.toml asks for: to run, and to develop."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run, dev = project["dependencies"], project["optional-dependencies"]["dev"]
    assert all("==" in line for line in run + dev)
    return pins("\n".join(run)), pins("\n".join(dev))


def imports(path: Path) -> set[str]:
    """Top-level names of the absolute imports anywhere in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def readme_tree() -> str:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## The tree\n", 1)[1].split("\n## ", 1)[0]
    return re.search(r"^```[^\n]*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]


def tree_paths(tree: str) -> set[str]:
    """Paths from the root that a tree names: what each line starts with, and whatever looks like a path further on.

    A line that starts with a folder says where the paths of that line, and of the lines indented under it, lie.
    """
    lines = [re.sub("[│├└─]", " ", line).rstrip() for line in tree.splitlines()]
    indents = [len(line) - len(line.lstrip()) for line in lines]
    margin = min(indent for line, indent in zip(lines, indents) if line)
    found, folders = set(), []  # folders: (indent, path), outermost first
    for line, indent in zip(lines, indents):
        words = [word.rstrip(".") if not word.endswith("/") else word for word in PATH.findall(line)]
        while folders and folders[-1][0] >= indent and line:
            folders.pop()
        for position, word in enumerate(words):
            base = folders[-1][1] if folders else ""
            starts_line = position == 0 and line.lstrip().startswith(word)
            if starts_line and word.endswith("/"):
                folders.append((indent, base + word))
            if (starts_line and indent == margin) or word.endswith("/") or Path(word).suffix in SUFFIXES:
                # A second top-level folder on one line ("tests/  benchmarks/") lies beside the first one, not in it.
                beside = (ROOT / word).exists() and not (ROOT / base / word).exists()
                found.add(word if beside else base + word)
    return found


def test_dependency_files_agree():
    run, dev = project_pins()
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    direct, transitive = requirements.split("\n# Transitive", 1)
    assert pins(direct) == run | dev
    assert pins((ROOT / "environment.yml").read_text(encoding="utf-8")) == run | dev
    assert not pins(transitive).keys() & pins(direct).keys()
    unpinned = [line for line in requirements.splitlines() if line and not line.startswith("#") and not PIN.match(line)]
    assert not unpinned


def test_imports_are_declared():
    run, dev = project_pins()
    tracked = [name for name in git_files("*.py") if not name.startswith(".venv/")]
    own = {Path(name).parts[0].removesuffix(".py") for name in tracked}
    undeclared = {}
    for name in tracked:
        allowed = run | dev if name.startswith(("tests/", "benchmarks/")) else run
        foreign = imports(ROOT / name) - own - set(sys.stdlib_module_names)
        missing = {module for module in foreign if IMPORTED_AS.get(module, module).replace("_", "-") not in allowed}
        if missing:
            undeclared[name] = missing
    assert not undeclared


def test_tree_lists_what_exists():
    files = git_files("--cached", "--others", "--exclude-standard")
    folders = {f"{parent}/" for name in files for parent in Path(name).parents}
    exists = folders.union(files)
    missing = {path for path in tree_paths(readme_tree()) if not any(fnmatch(name, path) for name in exists)}
    assert not missing


def test_tree_names_every_top_level_entry():
    words = PATH.findall(readme_tree())
    top = {name.split("/")[0] + "/" * ("/" in name) for name in git_files()}
    named = set(words) | {word.split("/")[0] + "/" for word in words if "/" in word}
    assert not top - named


def test_no_dataset_is_tracked():
    """What people prepare lies beside the code that prepares it, and is large, and may not be given away."""
    stray = {name for name in git_files("dataset") if Path(name).suffix not in {".py", ".sh", ".json"}}
    assert not stray


def test_tree_reading():
    tree = """\
generate.py   text to motion, as .bvh or in a <name>/file.npy
no/such.py, nor.md
dataset/      spec.py (which says) · gone.py
              prepare/  absent.py
tests/  benchmarks/    no more than that
"""
    assert tree_paths(tree) == {
        "generate.py", "no/such.py", "nor.md",
        "dataset/", "dataset/spec.py", "dataset/gone.py", "dataset/prepare/", "dataset/prepare/absent.py",
        "tests/", "benchmarks/",
    }  # fmt: skip
