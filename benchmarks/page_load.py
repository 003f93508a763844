"""Two hundred requests to the page, eight at a time, one in five of them malformed or hostile.

    python -m benchmarks.page_load

Starts demo.py with the weights that ship. Every good request must be answered with what was asked, every bad one with a
message, and the server's memory must stay as it is: its resident size is printed as the rounds go by. Status 1 where
one of that fails. Linux: the size is read from /proc.
"""

import argparse
import io
import json
import pickle
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dataset.spec import BANDAI
from utils.bvh_export import motion_bvh
from utils.motion import features_to_joints

ROOT = Path(__file__).resolve().parent.parent
SENTENCES = ("a person walks forward", "someone waves with both hands", "an old man bows", "a person runs")
GROWTH = 0.10  # of the resident size from the second round on


def ask(address: str, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
    request = urllib.request.Request(address + path, body, {"Content-Type": kind} if body is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def make(address: str, path: str, body: Any, kind: str = "application/json") -> dict:
    """What a request comes to: {"motions": [...]} or {"message": ...}."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = json.loads(ask(address, path, body, kind)[1])
    while job := said.get("job"):
        said = json.loads(ask(address, f"/api/jobs/{job}")[1])
        if "ahead" in said:
            time.sleep(0.05)
            said = {"job": job}
    return said


def upload(address: str, name: str, content: bytes) -> dict:
    return make(address, f"/api/upload?name={name}", content, "application/octet-stream")


def one(address: str, number: int, walk: bytes) -> bool:
    """The request of that number; whether its answer is right."""
    sentence, kind = f"{SENTENCES[number % 4]} {number}", number % 10
    if kind == 0:
        said = make(address, "/api/long", {"texts": [sentence, "a person bows"], "seed": number})
        return len(said["motions"]) == 1
    if kind == 1:  # read, edited, downloaded
        (motion,) = upload(address, "walk.bvh", walk)["motions"]
        asked = {"motion": motion["motion"], "task": "inbetween", "text": sentence, "seed": number}
        (edited,) = make(address, "/api/edit", asked)["motions"]
        status, content = ask(address, f"/motions/{edited['motion']}.bvh")
        return status == 200 and content.startswith(b"HIERARCHY") and edited["frames"] == motion["frames"]
    if kind == 2:
        (motion,) = make(address, "/api/text", {"texts": [sentence], "length": 40, "seed": number})["motions"]
        status, content = ask(address, f"/motions/{motion['motion']}.{('gif', 'mp4')[number // 10 % 2]}")
        return status == 200 and len(content) > 10_000
    if kind == 3:  # malformed
        bodies = (b"{", b"[" * 50_000, b'{"texts": []}', b'{"texts": ["a"], "length": 1e9}', b"\xff" * 100)
        status, content = ask(address, "/api/text", bodies[number // 10 % len(bodies)])
        return status == 400 and bool(json.loads(content)["message"])
    if kind == 7:  # hostile
        files = {
            "a.npy": pickle.dumps(print), "b.npy": b"PK\x03\x04" + bytes(100), "c.bvh": walk[: len(walk) // 2],
            "d.npy": _array(np.zeros((4000, 22, 3), np.float32)), "e.exe": b"MZ", "f.bvh": b"ROOT " * 500_000,
        }  # fmt: skip
        name = list(files)[number // 10 % len(files)]
        return "message" in upload(address, name, files[name])
    said = make(address, "/api/text", {"texts": [sentence] * (1 + number % 3), "seed": number})
    pages = [ask(address, f"/motions/{motion['motion']}.html") for motion in said["motions"]]
    return len(pages) == 1 + number % 3 and all(status == 200 and sentence.encode() in page for status, page in pages)


def _array(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def resident(process: subprocess.Popen) -> float:
    """MiB of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="so often the requests are made")
    args = parser.parse_args()
    clip = np.load(ROOT / "pretrained/clips/walk.npy")[:60]
    walk = motion_bvh(features_to_joints(clip, BANDAI) if clip.ndim == 2 else clip, BANDAI, BANDAI.fps).encode()
    server = subprocess.Popen([sys.executable, "demo.py", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address, sizes, wrong = server.stdout.readline().strip(), [], []
        print(f"started: {resident(server):.0f} MiB")

        def timed(number: int) -> float:
            began = time.monotonic()
            try:
                right = one(address, number, walk)
            except (OSError, KeyError, ValueError) as error:
                right = False
                print(f"request {number}: {error!r}", file=sys.stderr)
            if not right:
                wrong.append(number)
            return time.monotonic() - began

        for round_ in range(args.rounds):
            began = time.monotonic()
            with ThreadPoolExecutor(args.at_once) as people:
                times = sorted(people.map(timed, range(args.requests)))
            sizes.append(resident(server))
            print(
                f"round {round_ + 1}: {args.requests} requests in {time.monotonic() - began:.0f} s, "
                f"half within {times[len(times) // 2]:.1f} s, all within {times[-1]:.1f} s; {sizes[-1]:.0f} MiB"
            )
    finally:
        server.terminate()
        server.wait()
    grown = sizes[-1] / sizes[min(1, len(sizes) - 1)] - 1
    print(f"{len(wrong)} answered wrongly; from the second round to the last memory grew by {100 * grown:.1f} %")
    sys.exit(bool(wrong) or grown > GROWTH)


if __name__ == "__main__":
    main()
