"""All files of a motion, and what happens to them where the disk is full."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dataset.spec import KIT, T2M
from tests.conftest import ROOT
from tests.motions import walking
from utils.bvh_export import motion_bvh
from utils.export import FORMATS, Export, check_formats, write_motion
from utils.visualize import motion_html


def motion(spec=T2M, frames=6):
    joints = walking(spec, frames) * spec.metres_per_unit
    return Export(
        joints, spec, "a title", spec.fps, {"generated": [(1, 2)]}, text="a person walks ü", seed=7,
        features=np.ones((frames, spec.dim), np.float32), ids=np.arange(2), settings={"temperature": 1.0},
    )  # fmt: skip


@pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)
def test_all_formats(tmp_path, spec):
    made = motion(spec)
    paths = write_motion(tmp_path / "x/walk.1", ["gif", "npy", "npz", "bvh", "html", "mp4"], made)
    assert [path.name for path in paths] == [f"walk.1.{name}" for name in FORMATS]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(path.name for path in paths)
    at = dict(zip(FORMATS, paths))
    assert at["html"].read_text() == motion_html(made.joints, spec, "a title", marks={"generated": [(1, 2)]})
    assert at["bvh"].read_text() == motion_bvh(made.joints, spec, spec.fps)
    joints = np.load(at["npy"])
    assert joints.dtype == np.float32 and np.allclose(joints, made.joints)
    assert at["gif"].read_bytes()[:6] == b"GIF89a" and at["mp4"].read_bytes()[4:8] == b"ftyp"
    with np.load(at["npz"], allow_pickle=False) as arrays:
        assert np.array_equal(arrays["joints"], joints) and arrays["features"].shape == (6, spec.dim)
        assert arrays["text"] == "a person walks ü" and arrays["seed"] == 7 and arrays["fps"] == spec.fps
        assert arrays["dataset"] == spec.name and arrays["ids"].tolist() == [0, 1]
        assert json.loads(arrays["settings"].item()) == {"temperature": 1.0}
        assert json.loads(arrays["marks"].item()) == {"generated": [[1, 2]]}
        assert "source_features" not in arrays


def test_same_motion_same_files(tmp_path):
    for name in "ab":
        write_motion(tmp_path / name, list(FORMATS), motion())
    for name in FORMATS:
        assert (tmp_path / f"a.{name}").read_bytes() == (tmp_path / f"b.{name}").read_bytes()


def test_formats_that_are_none():
    for formats in ([], ["pdf"], ["html", "pdf"]):
        with pytest.raises(ValueError, match="the formats are html, npy, npz, bvh, mp4, gif"):
            check_formats(formats)
    with pytest.raises(ValueError, match=r"not 'pdf'$"):
        check_formats(["html", "pdf"])


def test_joints_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="must have shape"):
        write_motion(tmp_path / "a", ["bvh"], Export(np.zeros((3, 4, 3)), T2M, "a", 20.0))
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import os, sys
import numpy as np
import torch
from tests.utils.test_export import motion
from utils.checkpoint import save_checkpoint
from utils.export import FORMATS, write_motion
folder = __import__("pathlib").Path(sys.argv[1])
for name in FORMATS:  # small enough to be there, before something else fills the disk
    (folder / f"a.{name}").write_text("old")
(folder / "net.pth").write_text("old")
filler = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(filler, bytes(4096))
except OSError:
    pass
def attempt(name, write):
    try:
        write()
        print(name, "was written")
    except OSError as error:
        print(name, error.strerror)
for name in FORMATS:
    attempt(name, lambda: write_motion(folder / "a", [name], motion(frames=8)))
attempt("pth", lambda: save_checkpoint(folder / "net.pth", {"net": {"x": torch.zeros(100_000)}}))
print(sorted(path.name for path in folder.iterdir()), {path.read_text() for path in folder.glob("[an]*")})
"""


def on_a_full_disk(folder, code):
    """What a Python process prints that has a disk of 64 KiB of its own at `folder`."""
    mount = f'mount -t tmpfs -o size=64k none "{folder}" && exec "$0" "$@"'
    command = ["unshare", "-rUm", "sh", "-c", mount, sys.executable, "-c", code, str(folder)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    except OSError as error:
        pytest.skip(f"no disk of one's own here: {error}")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no disk of one's own here: {done.stderr.strip()}")
    return done


def test_a_full_disk_leaves_the_old_files_whole(tmp_path):
    done = on_a_full_disk(tmp_path, FULL_DISK)
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    assert said == [f"{name} no space left on the disk" for name in (*FORMATS, "pth")]
    assert last == f"{sorted(['filler', 'net.pth', *(f'a.{name}' for name in FORMATS)])} {{'old'}}"


FULL_RUN = """
import os, pathlib, sys
import train_vq
from dataset.spec import BANDAI
from tests.tiny import make_dataset, run_script
folder = pathlib.Path(sys.argv[1])
data = make_dataset(folder.parent / "data", BANDAI)
out = folder / "vq" / "vq"
out.mkdir(parents=True)
(out / "net_last.pth").write_text("old")
flags = "--dataname bandai --device cpu --width 16 --depth 1 --nb-code 16 --code-dim 64 --batch-size 4 --window-size 32"
run_script(train_vq, *flags.split(), "--total-iter", 2, "--eval-iter", 2, "--data-root", data, "--out-dir", folder)
"""


def test_training_on_a_full_disk(tmp_path):
    """One line, and the checkpoint that was there: the disk of 64 KiB holds the logs, and no tokenizer."""
    (tmp_path / "disk").mkdir()
    check = "\nimport atexit\natexit.register(lambda: print((out / 'net_last.pth').read_text(), os.listdir(out)))\n"
    done = on_a_full_disk(tmp_path / "disk", FULL_RUN.replace("\nflags", check + "flags"))
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said == done.stderr.splitlines()[-1:]
    assert ".pth" in said[0] and "no space left on the disk" in said[0]
    kept = done.stdout.splitlines()[-1]
    assert kept.startswith("old [") and ".state" not in kept and ".net" not in kept
