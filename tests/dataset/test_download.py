"""The downloads against a server on this machine: no request leaves it."""

import io
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gdown
import numpy as np
import pytest

from dataset.prepare import download

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {"glove": "glove", "extractor": "extractor", "model": "model", "upperbody": "model_upperbody"}
EVIL = {"parent": "glove/../../evil", "absolute": "/tmp/evil", "drive": "C:/evil", "share": r"\\host\evil"}
NOISE = np.random.default_rng(0).bytes(1_500_000)  # more than two of gdown's chunks of 512 KiB


@dataclass
class Server:
    """What the local server gives, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_at: int | None = None  # send no byte of a file past this one
    breaks: int = 0  # how many more answers break off there
    announces: bool = True  # the length
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)  # of each request


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server whose files a test sets; the test runs in an empty folder, without retries."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.ranges.append(self.headers["Range"])
            content = state.files.get(self.path.lstrip("/"))
            if content is None or state.status != 200:
                self.send_error(404 if content is None else state.status)
                return
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.announces:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = state.break_at if state.breaks else len(content)
            state.breaks = max(0, state.breaks - 1)
            with suppress(ConnectionError):  # gdown asks for the whole file first, and again for the rest
                self.wfile.write(content[start:end])

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "RETRIES", 0)
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def zipped(members: dict[str, bytes | str]) -> bytes:
    """A zip of name > content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def glove(words: bytes = b"words") -> bytes:
    """An archive as the published one may be."""
    return zipped(
        {"glove/our_vab_data.npy": b"data", "glove/our_vab_words.pkl": words, "glove/our_vab_idx.pkl": b"idx"}
    )


def run(server: Server, what: str) -> None:
    download.main([what, "--mirror", server.url])


def refused(server: Server, what: str, capsys) -> str:
    """The one line on stderr of a run that ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        run(server, what)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def files_under(folder: str | Path = ".") -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.mark.parametrize("top", ["", "glove/", "some/other/"])
def test_glove_comes_from_any_folder_of_the_archive(server, top):
    server.files["glove.zip"] = zipped(
        {
            "./": "",
            f"{top}our_vab_data.npy": b"data",
            f"{top}our_vab_words.pkl": b"words",
            f"{top}our_vab_idx.pkl": b"idx",
            f"{top}readme.txt": b"not asked for",
            f"__MACOSX/{top}._our_vab_idx.pkl": b"junk",
            f"__MACOSX/{top}our_vab_idx.pkl": b"junk",
        }
    )
    run(server, "glove")
    wanted = {"glove/our_vab_data.npy": b"data", "glove/our_vab_idx.pkl": b"idx", "glove/our_vab_words.pkl": b"words"}
    assert files_under("glove") == wanted
    assert os.listdir("output/download") == ["glove.zip"]


@pytest.mark.parametrize("top", ["", "{}/", "checkpoints/{}/"])
def test_extractors_go_to_their_datasets(server, top):
    names = [
        "text_mot_match/model/finest.tar",
        "Comp_v6_KLD005/opt.txt",
        "Comp_v6_KLD005/model/latest.tar",
        "VQVAEV3_CB1024_CMT_H1024_NRES3/meta/mean.npy",
        "VQVAEV3_CB1024_CMT_H1024_NRES3/meta/std.npy",
    ]
    for dataname in ("t2m", "kit"):
        members = {top.format(dataname) + name: f"{dataname} {name}" for name in names}
        server.files[f"{dataname}.zip"] = zipped(members | {"__MACOSX/text_mot_match/model/._finest.tar": b"junk"})
    run(server, "extractor")
    wanted = {f"checkpoints/{d}/{name}": f"{d} {name}".encode() for d in ("t2m", "kit") for name in names}
    assert files_under("checkpoints") == wanted


@pytest.mark.parametrize("top", ["", "text-to-motion_2localLayer_rerun/", "a/{}/", "{}/"])
def test_the_three_runs_of_the_models_archive_go_apart(server, top):
    members = {
        f"{top.format(download.VQ_RUN)}{download.VQ_RUN}/net_last.pth": b"vq",
        f"{top.format(download.TRANS_RUN)}{download.TRANS_RUN}/net_last.pth": b"trans",
        f"{top.format(download.EVAL_RUN)}{download.EVAL_RUN}/run.log": b"numbers",
    }
    server.files["text-to-motion_2localLayer_rerun.zip"] = zipped(members)
    run(server, "model")
    assert files_under("output/vq") == {f"output/vq/{download.VQ_RUN}/net_last.pth": b"vq"}
    assert files_under("output/t2m") == {f"output/t2m/{download.TRANS_RUN}/net_last.pth": b"trans"}
    assert files_under("output/eval") == {f"output/eval/{download.EVAL_RUN}/run.log": b"numbers"}


def test_bare_files_go_to_their_places(server):
    server.files["vq_upperbody.pth"] = zipped({"archive/data.pkl": b"vq"})  # as torch.save writes now
    server.files["trans_upperbody.pth"] = b"\x80\x02" + NOISE  # and as it did before
    run(server, "upperbody")
    assert Path("output/vq/vq_upperbody/net_last.pth").read_bytes() == server.files["vq_upperbody.pth"]
    assert Path("output/t2m/trans_upperbody/net_last.pth").read_bytes() == server.files["trans_upperbody.pth"]


def test_complete_means_no_request(server, capsys):
    for name in download.GLOVE_FILES:
        Path("glove").mkdir(exist_ok=True)
        Path("glove", name).write_bytes(b"my own")
    run(server, "glove")
    assert server.ranges == [] and "complete" in capsys.readouterr().out
    assert not Path("output").exists()


def test_own_files_are_kept(server, capsys):
    server.files["glove.zip"] = glove()
    Path("glove").mkdir()
    Path("glove/notes.txt").write_bytes(b"mine")
    Path("glove/our_vab_words.pkl").write_bytes(b"my own words")
    run(server, "glove")
    assert "kept glove/our_vab_words.pkl" in capsys.readouterr().out
    assert files_under("glove") == {
        "glove/notes.txt": b"mine",
        "glove/our_vab_data.npy": b"data",
        "glove/our_vab_idx.pkl": b"idx",
        "glove/our_vab_words.pkl": b"my own words",
    }


def test_a_link_in_a_files_place_is_kept(server, tmp_path, capsys):
    server.files["glove.zip"] = glove()
    Path("glove").mkdir()
    Path("glove/our_vab_data.npy").symlink_to(tmp_path / "elsewhere")
    assert "our_vab_data.npy" in refused(server, "glove", capsys)
    assert Path("glove/our_vab_data.npy").is_symlink() and not Path("elsewhere").exists()


def test_interrupted_unpacking_is_finished_later(server, monkeypatch):
    run_folder = f"output/vq/{download.VQ_RUN}"
    server.files["text-to-motion_2localLayer_rerun.zip"] = zipped(
        {
            f"{download.VQ_RUN}/net_last.pth": b"vq",
            f"{download.VQ_RUN}/run.log": b"log",
            f"{download.TRANS_RUN}/net_last.pth": b"trans",
            f"{download.EVAL_RUN}/run.log": b"numbers",
        }
    )
    write_whole, calls = download.write_whole, []

    def interrupted(path, write):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write_whole(path, write)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download, "write_whole", interrupted)
        run(server, "model")
    assert not Path(run_folder, "net_last.pth").exists()  # the files that tell a complete one come last
    assert Path(run_folder, "run.log").exists()
    run(server, "model")
    assert files_under(run_folder) == {f"{run_folder}/net_last.pth": b"vq", f"{run_folder}/run.log": b"log"}
    assert len(server.ranges) == 1


def test_a_broken_transfer_goes_on_in_the_next_run(server, capsys):
    server.files["glove.zip"] = glove(words=NOISE)
    server.break_at, server.breaks = 700_000, 1
    error = refused(server, "glove", capsys)
    assert "glove.zip did not come" in error and "run this again" in error
    assert not Path("glove").exists() and not Path("output/download/glove.zip").exists()
    [part] = download.partials(download.DOWNLOADS["glove"][0])
    held = part.stat().st_size
    assert 0 < held <= 700_000
    run(server, "glove")
    assert server.ranges == [None, None, f"bytes={held}-"]
    assert Path("glove/our_vab_words.pkl").read_bytes() == NOISE
    assert os.listdir("output/download") == ["glove.zip"]


def test_a_broken_transfer_is_tried_again_at_once(server, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 1)
    monkeypatch.setattr("random.uniform", lambda *_: 0)  # the seconds that gdown waits before
    server.files["glove.zip"] = glove(words=NOISE)
    server.break_at, server.breaks = 700_000, 1
    run(server, "glove")
    assert Path("glove/our_vab_words.pkl").read_bytes() == NOISE
    assert server.ranges[0] is None and server.ranges[1].startswith("bytes=")


def test_two_versions_of_a_file_are_never_joined(server, capsys):
    server.files["glove.zip"] = glove(words=NOISE)
    server.break_at, server.breaks = 700_000, 1
    refused(server, "glove", capsys)
    server.files["glove.zip"] = glove(words=NOISE[::-1] + b"more")
    assert "changed on the server" in refused(server, "glove", capsys)
    run(server, "glove")
    assert Path("glove/our_vab_words.pkl").read_bytes() == NOISE[::-1] + b"more"


def test_a_transfer_that_only_lacked_its_name_is_used(server):
    content = glove()
    folder = Path("output/download")
    folder.mkdir(parents=True)
    (folder / "glove.zip.partabcd1234.part").write_bytes(content)
    (folder / "glove.zip.part.size").write_text(str(len(content)))
    run(server, "glove")
    assert server.ranges == [] and Path("glove/our_vab_words.pkl").exists()


def test_a_silent_break_is_seen(server, capsys):
    """Without an announced length only the end of the zip tells."""
    server.files["glove.zip"] = glove(words=NOISE)
    server.announces, server.break_at, server.breaks = False, 700_000, 1
    assert "breaks off" in refused(server, "glove", capsys)
    assert not Path("glove").exists()
    run(server, "glove")
    assert Path("glove/our_vab_words.pkl").read_bytes() == NOISE


@pytest.mark.parametrize("refusal", ["page", "quota", "missing"])
def test_a_refusal_names_the_file_to_fetch_by_hand(server, refusal, capsys):
    if refusal != "missing":
        server.files["glove.zip"] = b"\n<!DOCTYPE html><title>Quota exceeded</title>"
    server.status = 403 if refusal == "quota" else 200
    error = refused(server, "glove", capsys)
    assert "https://drive.google.com/file/d/1bCeS6Sh_mLVTebxIgiUHgdPrroW06mb6/view" in error
    assert "output/download/glove.zip" in error
    assert files_under() == {}
    Path("output/download/glove.zip").write_bytes(glove())
    before = len(server.ranges)
    run(server, "glove")
    assert len(server.ranges) == before and Path("glove/our_vab_idx.pkl").exists()


def test_google_is_asked_by_id_and_may_refuse(tmp_path, monkeypatch, capsys):
    asked = []

    def refuse(**given):
        asked.append(given["id"])
        raise gdown.exceptions.FileURLRetrievalError("Failed to retrieve file url:\n\n\tToo many users.\n\tLater.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(SystemExit) as stopped:
        download.main(["upperbody"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert asked == ["1l0_Dva2k7YHL0bI2FTciDJclOCg0aXqb", "1pi0nAqoAvuoOHpuNS-lMsa_esQG0n-NA"]
    for drive_id, name in zip(asked, ["vq_upperbody.pth", "trans_upperbody.pth"]):
        assert f"/{drive_id}/" in error and f"output/download/{name}" in error


def test_one_refused_file_does_not_stop_the_other(server, capsys):
    server.files["trans_upperbody.pth"] = b"\x80\x02trans"
    error = refused(server, "upperbody", capsys)
    assert "vq_upperbody.pth" in error and "trans_upperbody" not in error
    assert Path("output/t2m/trans_upperbody/net_last.pth").read_bytes() == b"\x80\x02trans"


def test_without_a_network_one_line(server, capsys):
    server.url = "http://127.0.0.1:1/"
    assert "glove.zip did not come" in refused(server, "glove", capsys)


@pytest.mark.parametrize("content", [b"<html>sign in</html>", b"", b"no archive", glove(words=NOISE)[:900_000]])
def test_a_useless_file_fetched_by_hand_is_named_and_kept(server, content, capsys):
    path = Path("output/download/glove.zip")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert "output/download/glove.zip is not usable" in refused(server, "glove", capsys)
    assert files_under() == {str(path): content} and server.ranges == []


@pytest.mark.parametrize("name", EVIL.values(), ids=EVIL)
def test_nothing_is_written_outside(server, name, capsys):
    server.files["glove.zip"] = zipped({"glove/our_vab_data.npy": b"data", f"{name}/our_vab_idx.pkl": b"evil"})
    assert repr(f"{name}/our_vab_idx.pkl") in refused(server, "glove", capsys)
    assert set(files_under()) == {"output/download/glove.zip"}
    assert not Path("/tmp/evil").exists() and not Path("../evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_links_and_devices_are_refused(server, kind, capsys):
    link = zipfile.ZipInfo("glove/our_vab_idx.pkl")
    link.create_system, link.external_attr = 3, (kind | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("glove/our_vab_data.npy", b"data")
        archive.writestr(link, "/etc/passwd")
    server.files["glove.zip"] = buffer.getvalue()
    assert "glove/our_vab_idx.pkl" in refused(server, "glove", capsys)
    assert not Path("glove").exists()


def test_two_members_for_one_place_are_refused(server, capsys):
    server.files["glove.zip"] = zipped({"a/our_vab_idx.pkl": b"one", "b/our_vab_idx.pkl": b"two"})
    assert "both meant for glove/our_vab_idx.pkl" in refused(server, "glove", capsys)
    assert not Path("glove").exists()


def test_a_bomb_is_refused(server, monkeypatch, capsys):
    monkeypatch.setattr(download, "LARGEST", 1000)
    server.files["glove.zip"] = glove(words=b"0" * 1000)
    assert "would unpack to" in refused(server, "glove", capsys)
    assert not Path("glove").exists()


def test_a_damaged_member_leaves_nothing_in_its_place(server, capsys):
    content = glove(words=NOISE)
    server.files["glove.zip"] = content.replace(NOISE[1000:1010], bytes(10))
    assert "output/download/glove.zip is damaged" in refused(server, "glove", capsys)
    assert set(files_under("glove")) <= {"glove/our_vab_data.npy", "glove/our_vab_idx.pkl"}


def test_an_archive_without_the_files_says_which(server, capsys):
    server.files["glove.zip"] = zipped({"our_vab_data.npy": b"data"})
    error = refused(server, "glove", capsys)
    assert "glove/our_vab_words.pkl" in error and "glove/our_vab_data.npy" not in error


@pytest.mark.parametrize("what", SCRIPTS)
def test_scripts_call_the_helper_from_anywhere(what, tmp_path):
    """In a copy of the few files they need, where everything is complete."""
    copy = tmp_path / "copy"
    for name in ("dataset/prepare/download.py", "utils/errors.py", "utils/files.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    script = shutil.copy(ROOT / f"dataset/prepare/download_{SCRIPTS[what]}.sh", copy / "dataset/prepare")
    python = copy / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for entry in download.DOWNLOADS[what]:
        for name in entry.needed:
            path = copy / name / "run.log" if name.endswith("/") else copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    ended = subprocess.run(["bash", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{entry.name}: complete" for entry in download.DOWNLOADS[what]]
