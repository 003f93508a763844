"""The page: its server asked directly, hostile uploads, several people at once; and in a real browser."""

import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import demo
from dataset.spec import BANDAI, KIT
from models.pipeline import GUIDANCE, PRETRAINED, UPPER_GUIDANCE, MotionPipeline
from models.upper_body import load_upper_body
from tests.browser import CHROMIUM, Browser
from tests.conftest import ROOT
from tests.motions import walking
from tests.test_generate import Touch
from tests.tiny import make_checkpoints, refusal, tiny_upper_vq
from utils.bvh_export import motion_bvh
from utils.export import FORMATS
from utils.motion import joints_to_features
from web.jobs import Full, Jobs
from web.server import PageServer
from web.studio import LARGEST_UPLOAD, Entry, Shelf, Studio

WALK, WAVE = "a person walks forward", "someone waves a hand"


class Client:
    """Someone who asks a page's server."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **headers):
        return self._send(urllib.request.Request(self.address + path, headers=headers))

    def post(self, path, body, kind="application/json", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._send(urllib.request.Request(self.address + path, body, {"Content-Type": kind, **headers}))

    def _send(self, request):
        """Status and content; JSON as what it says."""
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, kind, content = answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            status, kind, content = error.code, error.headers.get_content_type(), error.read()
        return status, json.loads(content) if kind == "application/json" else content

    def make(self, path, body, kind="application/json"):
        """What comes of a request: its motions, or the message that says what is wrong."""
        status, said = self.post(path, body, kind)
        if status == 200:
            name = said["job"]
            while "ahead" in (said := self.get(f"/api/jobs/{name}")[1]):
                time.sleep(0.01)
        return said.get("motions") or said["message"]

    def upload(self, name, content):
        return self.make(f"/api/upload?name={name}", content, "application/octet-stream")


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """serve(spec, upper) is a Client of a server of untrained models."""
    servers = []

    def start(spec=BANDAI, upper=False):
        folder = tmp_path_factory.mktemp("weights")
        tiny, halves = make_checkpoints(folder, spec), None
        if upper:
            paths = make_checkpoints(folder / "upper", spec, make_vq=tiny_upper_vq)
            halves = load_upper_body(paths.vq, paths.trans, "cpu")
        studio = Studio(MotionPipeline.load(tiny.vq, tiny.trans, "cpu", tiny.length), halves, "no weights of it")
        servers.append(PageServer(("127.0.0.1", 0), studio))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        client = Client(f"http://127.0.0.1:{servers[-1].server_address[1]}")
        client.server = servers[-1]
        return client

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def page(serve):
    return serve(upper=True)


def npy(array, **kwargs):
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def read_joints(page, motion):
    return np.load(io.BytesIO(page.get(f"/motions/{motion['motion']}.npy")[1]))


def joints(frames=60):
    return walking(BANDAI, frames)


# --- What it makes


def test_guidance_is_the_models_own_unless_someone_sets_one(page):
    """The upper body's is not the whole body's."""
    source = page.upload("a.npy", npy(joints()))[0]["motion"]

    def made(**how):
        (motion,) = page.make("/api/upper", {"motion": source, "text": WAVE, **how})
        return read_joints(page, motion)

    usual = made()
    assert np.array_equal(usual, made(guidance=None)) and np.array_equal(usual, made(guidance=UPPER_GUIDANCE))
    assert not np.allclose(usual, made(guidance=GUIDANCE), atol=1e-3)


def test_text(page):
    motions = page.make("/api/text", {"texts": [WALK, f"  {WAVE} ", " "], "length": 24, "seed": 3})
    assert [(m["title"], m["frames"], m["fps"]) for m in motions] == [(WALK, 24, 20.0), (WAVE, 24, 20.0)]
    assert not motions[0]["note"]
    (unknown,) = page.make("/api/text", {"texts": [f"{WALK} qqqq"], "length": 24})
    assert "'qqqq'" in unknown["note"] and "walks" not in unknown["note"]
    again, other = (page.make("/api/text", {"texts": [WALK], "length": 24, "seed": seed})[0] for seed in (3, 4))
    first, same, another = (read_joints(page, motion) for motion in (motions[0], again, other))
    np.testing.assert_allclose(first, same, atol=1e-4)  # alone or beside others
    assert not np.allclose(first, another, atol=0.01), "the seed decides"
    assert page.make("/api/text", {"texts": [WALK]})[0]["frames"] >= BANDAI.min_frames, "the length is predicted"


def test_every_format_can_be_downloaded(page):
    (motion,) = page.make("/api/text", {"texts": [WALK], "length": 8})
    begins = {"html": b"<!doctype html>", "npy": b"\x93NUMPY", "npz": b"PK", "bvh": b"HIERARCHY", "gif": b"GIF89a"}
    for format in FORMATS:
        status, content = page.get(f"/motions/{motion['motion']}.{format}")
        assert status == 200 and content.startswith(begins.get(format, b"\0\0\0")), format
    with np.load(io.BytesIO(page.get(f"/motions/{motion['motion']}.npz")[1])) as arrays:
        settings = json.loads(arrays["settings"].item())
        assert arrays["features"].shape == (8, 263) and arrays["text"] == WALK
    assert settings["asked"]["texts"] == [WALK] and len(settings["checkpoints"]) == 3


def test_edits(page):
    """Of what was just made and of uploads in each form; the kept frames are the source's."""
    (made,) = page.make("/api/text", {"texts": [WALK], "length": 60})
    sources = [
        made,
        *page.upload("walk.npy", npy(joints())),
        *page.upload("f.NPY", npy(joints_to_features(joints(61), BANDAI))),
        *page.upload("my%20walk.bvh", motion_bvh(joints(), BANDAI, 20.0).encode()),
    ]
    assert [source["title"] for source in sources] == [WALK, "walk.npy", "f.NPY", "my walk.bvh"]
    for source in sources:
        asked = {"motion": source["motion"], "task": "prefix", "text": WAVE}
        (edited,) = page.make("/api/edit", asked)
        assert edited["frames"] == 60 and "prefix of" in edited["title"]
        if source is made:
            np.testing.assert_allclose(read_joints(page, edited)[:28], read_joints(page, made)[:28], atol=1e-4)
    (again,) = page.make("/api/edit", asked | {"motion": edited["motion"], "task": "range", "frames": "20:40"})
    assert b'"marked":[[20,40]]' in page.get(f"/motions/{again['motion']}.html")[1]
    (upper,) = page.make("/api/upper", {"motion": made["motion"], "text": WAVE})
    assert upper["frames"] == 60 and "upper body" in upper["title"]


def test_captured_examples(page, serve):
    """Those that ship can be edited at once; another skeleton has none."""
    assert {"walk", "wave", "turn"} <= {entry.name for entry in page.server.studio.examples}
    (edited,) = page.make("/api/edit", {"motion": "wave", "task": "range", "frames": "20:40"})
    assert "range of wave" in edited["title"] and page.get("/motions/wave.npy")[0] == 400
    assert serve(KIT).server.studio.examples == []


def test_long(page):
    (motion,) = page.make("/api/long", {"texts": [WALK, WAVE], "length": 40})
    assert motion["frames"] == 88 and b'"mark":"transition"' in page.get(f"/motions/{motion['motion']}.html")[1]


def test_another_skeleton(serve):
    kit = serve(KIT)
    (motion,) = kit.make("/api/text", {"texts": [WALK], "length": 30})
    assert motion["fps"] == 12.5 and kit.get(f"/motions/{motion['motion']}.bvh")[1].startswith(b"HIERARCHY")
    assert "no weights of it" in kit.make("/api/upper", {"motion": motion["motion"], "text": WAVE})
    assert "no weights of it" in kit.get("/")[1].decode()


def test_the_page_needs_no_network(page):
    status, content = page.get("/")
    text = content.decode()
    assert status == 200 and "http" not in text and "//cdn" not in text and "__SETTINGS__" not in text


# --- What it refuses: a message to who asked, and the next is served


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (b"{", "no JSON"), (b"[1]", "no JSON object"), (b"[" * 60_000, "no JSON"), (b"\xff", "no JSON"), ({}, "texts"),
        ({"texts": "a"}, "a list"), ({"texts": [1]}, "a list"), ({"texts": [" "]}, "write a sentence"),
        ({"texts": ["a"] * 9}, "at most 8"), ({"texts": ["a" * 1001]}, "1001 characters"),
        (b'{"texts": ["\\ud800"]}', "no UTF-8"), ({"texts": ["a"], "length": 3}, "from 4 to 76"),
        ({"texts": ["a"], "length": 8.5}, "whole number"), ({"texts": ["a"], "length": True}, "whole number"),
        ({"texts": ["a"], "length": "8"}, "whole number"), ({"texts": ["a"], "seed": -1}, "the seed"),
        ({"texts": ["a"], "seed": 10**30}, "the seed"), ({"texts": ["a"], "temperature": -1}, "temperature"),
        (b'{"texts": ["a"], "temperature": NaN}', "temperature"), ({"texts": ["a"], "guidance": 1e9}, "guidance"),
        ({"texts": ["a"], "guidance": "2"}, "guidance"), ({"texts": ["a"], "temperature": None}, "temperature"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)  # fmt: skip
def test_texts_that_are_refused(page, asked, message):
    status, said = page.post("/api/text", asked)
    assert status == 400 and message in said["message"] and "\n" not in said["message"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "choose a motion"), ({"motion": "gone", "task": "prefix"}, "not kept any more"),
        ({"motion": "../../etc/passwd", "task": "prefix"}, "not kept"), ({"task": "upward"}, "the edits are"),
        ({"text": 3}, "text"), ({"text": "a" * 2000}, "2000 characters"), ({"task": "range"}, "FIRST:END"),
        ({"task": "range", "frames": "9:9"}, "FIRST:END"), ({"task": "range", "frames": "50:90"}, "0:60"),
        ({"task": "range", "frames": "0" * 99}, "FIRST:END"),
    ],
)  # fmt: skip
def test_edits_that_are_refused(page, asked, message):
    if asked and "motion" not in asked:
        asked = {"motion": page.upload("a.npy", npy(joints()))[0]["motion"], "task": "prefix", **asked}
    assert message in page.make("/api/edit", asked)


def test_requests_that_are_none(page):
    for path in (
        "/nothing",
        "/motions/x.exe",
        "/motions/..%2f..%2fetc.npy",
        "/api/jobs/x",
        "/../demo.py",
        "/web/page.html",
    ):
        assert page.get(path)[0] == 404
    assert page.get("/motions/gone.npy")[0] == 400 and page.get("/motions/gone.mp4")[0] == 400
    assert page.post("/api/nothing", {})[0] == 404 and page.post("/", {})[0] == 404
    assert page.post("/api/text", {"texts": [WALK]}, "text/plain")[0] == 415, "another site's form"
    assert page.get("/", Host="evil.example:80")[0] == 403, "another site's name for this machine"
    assert page.post("/api/text", b" " * 70_000)[0] == 413
    status, said = page.post("/api/upload?name=a.npy", bytes(LARGEST_UPLOAD + 1), "application/octet-stream")
    assert status == 413 and "at most 4 MiB" in said["message"]
    assert page.make("/api/text", {"texts": [WALK], "length": 8})


def hostile(folder):
    """Files that run something where they are loaded carelessly, or ask for all memory there is."""
    evil = Touch(folder / "executed")
    header = b"\x93NUMPY\x01\x00"

    def with_header(words, content=b""):
        words = words.encode().ljust(118) + b"\n"
        return header + len(words).to_bytes(2, "little") + words + content

    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("joints.npy", npy(np.zeros(60_000_000, np.uint8)))
    archived = io.BytesIO()
    np.savez(archived, a=np.array([evil], dtype=object))
    motion = motion_bvh(joints(20), BANDAI, 20.0)
    hierarchy, numbers = motion.split("MOTION\n")
    return {
        "pickle.npy": pickle.dumps(evil),
        "objects.npy": npy(np.array([evil, evil], dtype=object), allow_pickle=True),
        "archive.npy": archived.getvalue(),
        "bomb.npy": bomb.getvalue(),
        "code.npy": with_header(f"__import__('os').open({str(folder / 'executed')!r}, 64)"),
        "dtype.npy": with_header("{'descr': '|O', 'fortran_order': False, 'shape': (3, 22, 3)}", pickle.dumps(evil)),
        "vast.npy": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 22, 3)}"),
        "vaster.npy": with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 22, 3)}}"),
        "nested.npy": with_header("(" * 110),
        "empty.npy": b"",
        "half.npy": npy(joints())[:5000],
        "none.npy": npy(np.zeros((0, 22, 3))),
        "flat.npy": npy(np.zeros((40, 22, 3))),
        "huge.npy": npy(joints() * 1e37),
        "nan.npy": npy(np.full((40, 22, 3), np.nan)),
        "long.npy": npy(np.zeros((2000, 22, 3), np.float32)),
        "pickle.bvh": pickle.dumps(evil),
        "slow.bvh": motion.replace("Frame Time: 0.05", "Frame Time: 59").encode(),
        "names.bvh": motion.replace("Hips", "H" * 2_000_000).encode(),
        "ends.bvh": (f"HIERARCHY ROOT {'n' * 100_000} {{" + "End Site { OFFSET 0 0 0 }" * 1900 + "} MOTION").encode(),
        "joints.bvh": (
            "HIERARCHY\nROOT a {\nOFFSET 0 0 0\nCHANNELS 1 Xposition\n" + "JOINT b { OFFSET 0 1 0 CHANNELS 0 }\n" * 1900
            + "}\nMOTION\nFrames: 1000000\nFrame Time: 0.00001\n" + "0 " * 1_000_000
        ).encode(),
        "frames.bvh": (hierarchy + "MOTION\nFrames: 99999999999\nFrame Time: 0.05\n" + numbers).encode(),
        "shell.exe": b"MZ",
        "x.npz": archived.getvalue(),
    }  # fmt: skip


def test_hostile_uploads(page, tmp_path):
    """A message each, nothing run, no memory taken, and the next motion is read."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content in hostile(tmp_path).items():
        assert len(content) <= LARGEST_UPLOAD, name
        said = page.upload(name, content)
        assert isinstance(said, str), f"{name} was taken for a motion"
        assert said and "/tmp" not in said and "Traceback" not in said and "allow_pickle" not in said
        assert "for a reason that is not yours" not in said, name
    assert not (tmp_path / "executed").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000, "KiB"
    assert page.upload("walk.npy", npy(joints()))


def test_a_failure_is_of_one_request(page, monkeypatch, capsys):
    """Even one that nobody thought of."""
    studio = page.server.studio
    monkeypatch.setattr(type(studio), "long", lambda *given: 1 / 0)
    assert "not yours" in page.make("/api/long", {"texts": [WALK]})
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert page.make("/api/text", {"texts": [WALK], "length": 8})


# --- Several people


def test_several_at_once(page):
    """Each gets what was asked, those who ask for nonsense too."""

    def ask(number):
        if number % 4 == 3:
            return page.make("/api/text", {"texts": [WALK], "length": -number})
        return page.make("/api/text", {"texts": [f"{WALK} {number}"], "length": 8 + 4 * (number % 4)})

    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(ask, range(24)))
    for number, answer in enumerate(answers):
        if number % 4 == 3:
            assert "a length must be" in answer
        else:
            assert [(m["title"], m["frames"]) for m in answer] == [(f"{WALK} {number}", 8 + 4 * (number % 4))]


def test_the_queue():
    """In order, with how many are before one; full, it says so."""
    jobs, gate, done = Jobs(waiting=3, kept=4), threading.Event(), []
    first = jobs.submit(gate.wait)
    while jobs._queue.qsize():
        time.sleep(0.001)
    waiting = [jobs.submit(lambda i=i: done.append(i)) for i in range(3)]
    assert [jobs.ahead(job) for job in (first, *waiting)] == [0, 1, 2, 3]
    with pytest.raises(Full):
        jobs.submit(print)
    gate.set()
    waiting[-1].done.wait(10)
    assert done == [0, 1, 2] and jobs.ahead(waiting[-1]) == 0
    for _ in range(20):
        jobs.submit(int).done.wait(10)
    assert jobs.find(first.id) is None and len(jobs._jobs) <= 7


def test_only_the_newest_motions_are_kept():
    shelf = Shelf(kept=3)
    for name in "abcde":
        shelf.add(Entry(name, None))
    assert shelf.find("c").name == "c"
    with pytest.raises(ValueError, match="not kept any more"):
        shelf.find("b")


# --- The script


def test_flags(capsys, tmp_path):
    assert "--port" in refusal(capsys, demo, "--port", "70000")
    assert "--port" in refusal(capsys, demo, "--port", "-1")
    assert "nowhere.pth" in refusal(capsys, demo, "--resume-pth", tmp_path / "nowhere.pth")
    tiny = make_checkpoints(tmp_path)
    upper = ("--upper-pth", tiny.vq, "--upper-trans", tiny.trans)
    assert "whole-body model" in refusal(capsys, demo, *tiny.flags, *upper)
    assert "cannot listen at 192.0.2.1" in refusal(capsys, demo, *tiny.flags, "--host", "192.0.2.1")


@pytest.fixture(scope="module")
def served():
    """The page of the weights that ship, as `make serve` starts it: its address."""
    if not (PRETRAINED / "vq.pth").is_file():
        pytest.skip("no weights ship yet")
    process = subprocess.Popen(
        [sys.executable, "demo.py", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    address = process.stdout.readline().strip()
    yield address
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=60)[1] and process.returncode == 0


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_in_a_browser(served, tmp_path):
    """Type, click, wait; the person moves; edit what was made; download; be told what is wrong."""
    with Browser(tmp_path) as browser:
        browser.open(served)
        browser.click(".examples button", 1)
        assert browser.evaluate("document.querySelector('#texts').value") == "someone waves with both hands"
        browser.type("#texts", "a person walks forward")
        browser.type("#length", "60")
        browser.click("#go")
        browser.wait("document.querySelectorAll('article').length === 1")
        assert browser.evaluate("document.querySelector('h2').textContent") == "a person walks forward (3.0 s)"

        browser.evaluate("document.querySelector('iframe').scrollIntoView({block: 'center', behavior: 'instant'})")
        box = browser.evaluate(
            "(({x, y, width, height}) => [x, y, x + width, y + height])"
            "(document.querySelector('iframe').getBoundingClientRect())"
        )
        shots, end = [], time.monotonic() + 20
        while (len(shots) < 2 or np.array_equal(shots[0], shots[-1])) and time.monotonic() < end:
            with Image.open(browser.picture(tmp_path / "page.png")) as picture:
                shots.append(np.asarray(picture.convert("RGB").crop(box)).astype(int)[90:330])
            time.sleep(0.3)
        limbs = [
            [(np.abs(shot - colour).sum(axis=-1) < 12) for colour in ((43, 134, 209), (232, 121, 28))] for shot in shots
        ]
        assert min(side.sum() for sides in limbs[1:] for side in sides) > 100, "a left and a right side are seen"
        assert (limbs[1][0] != limbs[-1][0]).any() or (limbs[0][0] != limbs[-1][0]).any(), "and they move"

        browser.click("[data-tab=edit]")
        browser.type("#texts", "")
        browser.click("#go")
        browser.wait("document.querySelectorAll('article').length === 2")
        browser.click("[data-format=bvh]")
        assert browser.downloaded(".bvh").read_text().startswith("HIERARCHY")
        browser.choose_file("#file", browser.downloaded(".bvh"))
        browser.wait("document.querySelector('#said').textContent.includes('60 frames')")
        browser.click("[data-tab=long]")
        browser.type("#length", "3")
        browser.click("#go")
        browser.wait("!!document.querySelector('#said.bad')")
        assert "from 4 to 196" in browser.evaluate("document.querySelector('#said').textContent")
        browser.click("[data-tab=upper]")
        says_why = browser.evaluate(
            "document.querySelector('#about').textContent.includes('weights that are not here')"
        )
        assert says_why == (not (PRETRAINED / "vq_upper.pth").is_file())
        assert browser.errors == []
