"""A few kills of everything that writes (tests/kill_writing.py), and the faults that killing found."""

import os
import subprocess
import sys

from dataset.motion_file import motion_paths
from tests.conftest import ROOT


def test_killed_at_random_moments():
    command = [sys.executable, "-m", "tests.kill_writing", "--kills", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("\nalways whole\n"), done.stdout + done.stderr


def test_unfinished_files_are_no_motions(tmp_path):
    for name in ("b.npy", "a.bvh", ".b.4242.1.npy", ".a.4242.1.bvh"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in motion_paths(tmp_path)] == ["a.bvh", "b.npy"]
