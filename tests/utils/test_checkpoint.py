"""Checkpoints: nothing in them runs, broken ones say so, weights that do not fit are named."""

import os
import pickle

import pytest
import torch
from torch import nn

from utils.checkpoint import halved, load_checkpoint, load_state, save_checkpoint


class Malicious:
    """Touches a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def content():
    return {
        "net": nn.Linear(3, 2).state_dict(),
        "config": {"width": 3, "name": "x", "tuple": (1, 2)},
        "mean": torch.ones(3),
    }


def test_there_and_back(tmp_path):
    saved = content()
    save_checkpoint(tmp_path / "runs/net_last.pth", saved)
    loaded = load_checkpoint(tmp_path / "runs/net_last.pth")
    assert loaded["config"] == saved["config"]
    torch.testing.assert_close(loaded["net"], dict(saved["net"]))
    assert os.listdir(tmp_path / "runs") == ["net_last.pth"]


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_files_do_not_run(tmp_path, zipped):
    path, trace = tmp_path / "net.pth", tmp_path / "was_here"
    torch.save({"net": Malicious(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"net\.pth"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the file of this test would have done harm"


def test_plain_pickles_do_not_run(tmp_path):
    path, trace = tmp_path / "net.pth", tmp_path / "was_here"
    path.write_bytes(pickle.dumps({"net": Malicious(trace)}))
    with pytest.raises(ValueError, match=r"net\.pth"):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_anywhere(tmp_path, zipped):
    path = tmp_path / "net.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in [*range(0, 40), *range(40, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"net\.pth"):
            load_checkpoint(path)


@pytest.mark.parametrize("seed", range(20))
def test_noise(tmp_path, seed):
    path = tmp_path / "net.pth"
    noise = (
        torch.randint(256, (300,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8).numpy().tobytes()
    )
    for start in (b"", b"\x80\x02", b"PK\x03\x04", b"}q\x00", b"\x80\x02}("):
        path.write_bytes(start + noise)
        with pytest.raises(ValueError, match=r"net\.pth"):
            load_checkpoint(path)


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth.*a list"):
        load_checkpoint(tmp_path / "list.pth")


def test_load_state():
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_state(target, source.state_dict(), "net.pth")
    assert torch.equal(source.weight, target.weight) and torch.equal(source.bias, target.bias)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"weight": torch.zeros(2, 3)}, r"missing bias$"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)}, r"unexpected more$"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, r"weight is \[2, 4\], not \[2, 3\]$"),
        ({"weight": torch.zeros(3), "more": torch.zeros(1)}, r"missing bias; unexpected more; .*weight is \[3\]"),
    ],
)
def test_state_that_does_not_fit(state, reason):
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(ValueError, match=r"^net\.pth.*" + reason):
        load_state(module, state, "net.pth")
    assert torch.equal(module.weight, before)


def test_optional_state():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = {name: value + 1 for name, value in module.state_dict().items() if not name.startswith("1.")}
    before = module[1].weight.clone()
    load_state(module, state, "net.pth", optional=[f"1.{name}" for name in module[1].state_dict()])
    assert torch.equal(module[0].weight, state["0.weight"]) and torch.equal(module[1].weight, before)
    with pytest.raises(ValueError, match=r"missing 1\.weight"):
        load_state(module, state, "net.pth", optional=("1.bias",))


def test_halved():
    state = {"a": torch.tensor([1.0, 0.1]), "steps": torch.tensor([70_000])}
    small = halved(state)
    assert small["a"].dtype == torch.float16 and small["steps"].dtype == torch.int64
    torch.testing.assert_close(small["a"].float(), state["a"], rtol=1e-3, atol=0)
    assert small["steps"].item() == 70_000
