"""The page's server: the standard library's, for one's own machine or a few people in a room.

GET  /                         the page
POST /api/text, long, edit, upper   a JSON object (web.asked)       -> {"job": ...}
POST /api/upload?name=FILE     a file's bytes                       -> {"job": ...}
GET  /api/jobs/JOB             {"ahead": 2}, {"message": "what is wrong"} or {"motions": [...]}
GET  /motions/MOTION.FORMAT    a file of a motion

What is wrong with a request comes back as {"message": ...} and a status of 4xx or 503, and concerns nobody else.
"""

import json
import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from models.edits import TASKS
from options.prompts import LONGEST_TEXT
from utils.export import FORMATS
from web.asked import LONGEST_EDIT, MOST_TEXTS, NUMBERS, EditRequest, TextRequest
from web.jobs import Full, Job, Jobs
from web.studio import LARGEST_UPLOAD, Studio

PAGE = Path(__file__).with_name("page.html")
LARGEST_JSON = 64 * 1024  # bytes
CONNECTIONS = 256  # at once: each has a thread, a browser six
PATIENCE = 30  # seconds that a connection may say nothing
SLOW = ("mp4", "gif")  # formats that take seconds: they queue
TYPES = {
    "html": "text/html; charset=utf-8", "mp4": "video/mp4", "gif": "image/gif", "bvh": "text/plain; charset=utf-8",
}  # fmt: skip
LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Refused(Exception):
    """A request that is not served, with the status that says so."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class PageServer(ThreadingHTTPServer):
    """Serves a studio; requests that make something go through its queue."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], studio: Studio):
        self.studio, self.jobs = studio, Jobs()
        self.names = LOCAL if address[0] in LOCAL else None  # that a browser may call it by; None for any
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self.page = render_page(studio).encode()
        super().__init__(address, Handler)

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        self._free.acquire()  # who comes when all are taken waits in the socket's own queue
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket.socket, client_address: Any) -> None:
        """A browser that goes away in the middle is no error."""


def render_page(studio: Studio) -> str:
    """The page, told what the weights can do."""
    pipeline = studio.pipeline
    settings = {
        "formats": FORMATS, "tasks": [*TASKS, "range"], "mostTexts": MOST_TEXTS, "longestText": LONGEST_TEXT,
        "shortest": pipeline.shortest, "longest": pipeline.longest, "fps": pipeline.spec.fps, "numbers": NUMBERS,
        "largestUpload": LARGEST_UPLOAD, "longestEdit": LONGEST_EDIT,
        "examples": [entry.described() for entry in studio.examples],
        "noUpper": "" if studio.upper else studio.why_no_upper,
    }  # fmt: skip
    said = json.dumps(settings).replace("<", "\\u003c")
    return PAGE.read_text(encoding="utf-8").replace("__SETTINGS__", said)


class Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "motion", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *given: Any) -> None:
        """Not a line for every poll."""

    def _answer(self, serve: Any) -> None:
        try:
            self._check_host()
            serve()
        except Refused as refused:
            self.close_connection = True  # a body may be unread
            self._send_json({"message": str(refused)}, refused.status)
        except ValueError as error:
            self._send_json({"message": " ".join(str(error).split())}, 400)
        except Full:
            self._send_json({"message": "too many are waiting: try again in a minute"}, 503)

    def _check_host(self) -> None:
        """Refuse a page of another site that calls this one by a name of its own."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if self.server.names and name not in self.server.names:
            raise Refused(403, "this page is for its own machine: start it with --host to let others in")

    # --- What there is to get

    def _get(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            return self._send(self.server.page, TYPES["html"])
        folder, _, name = path.removeprefix("/").rpartition("/")
        if folder == "api/jobs" and (job := self.server.jobs.find(name)):
            return self._send_json(self._described(job))
        motion, _, format = name.partition(".")
        if folder == "motions" and format in FORMATS:
            return self._send_file(motion, format)
        raise Refused(404, "there is no such thing here (any more)")

    def _described(self, job: Job) -> dict[str, Any]:
        if not job.done.is_set():
            return {"ahead": self.server.jobs.ahead(job)}
        return {"message": job.message} if job.message else {"motions": [entry.described() for entry in job.result]}

    def _send_file(self, motion: str, format: str) -> None:
        studio = self.server.studio
        if format in SLOW:
            studio.shelf.find(motion)
            job = self.server.jobs.submit(lambda: studio.file(motion, format))
            job.done.wait()
            if job.message:
                raise ValueError(job.message)
            content = job.result
        else:
            content = studio.file(motion, format)
        headers = {
            "Content-Disposition": f'{"inline" if format == "html" else "attachment"}; filename="motion.{format}"'
        }
        self._send(content, TYPES.get(format, "application/octet-stream"), headers | {"Cache-Control": "no-store"})

    # --- What there is to ask for

    def _post(self) -> None:
        address = urlsplit(self.path)
        what = address.path.removeprefix("/api/")
        if address.path == what or what not in ("text", "long", "edit", "upper", "upload"):
            raise Refused(404, "there is no such thing here")
        studio, name = self.server.studio, secrets.token_urlsafe(12)
        if what == "upload":
            title = parse_qs(address.query).get("name", ["motion"])[0][:100]
            content = self._body("application/octet-stream", LARGEST_UPLOAD)
            job = self.server.jobs.submit(lambda: [studio.upload(name, title, content)])
        else:
            given = read_object(self._body("application/json", LARGEST_JSON))
            if what in ("text", "long"):
                asked = TextRequest.read(given, studio.pipeline.shortest, studio.pipeline.longest)
                make = getattr(studio, what)
            else:
                asked, make = EditRequest.read(given, what == "upper"), studio.edit
            job = self.server.jobs.submit(lambda: make(name, asked))
        self._send_json({"job": job.id})

    def _body(self, kind: str, largest: int) -> bytes:
        """The request's body. Its type is checked because pages of other sites can send only some, unasked."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != kind:
            raise Refused(415, f"this takes {kind}")
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            raise Refused(411, "say how long it is")
        if int(length) > largest:
            self._discard(int(length))
            raise Refused(413, f"that is too large: at most {largest / 2**20:.2g} MiB")
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise Refused(400, "it ended too soon")
        return content

    def _discard(self, length: int) -> None:
        """Read what is sent and forget it, within reason: who is still sending does not see an answer."""
        left = min(length, 16 * LARGEST_UPLOAD)
        while left > 0 and (read := len(self.rfile.read(min(left, 2**16)))):
            left -= read

    def _send_json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", {"Cache-Control": "no-store"}, status)

    def _send(self, content: bytes, kind: str, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(len(content)), "X-Content-Type-Options": "nosniff",
            "Connection": "close" if self.close_connection else "keep-alive", **(headers or {}),
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def read_object(content: bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("that is no JSON") from error
    if not isinstance(given, dict):
        raise ValueError("that is no JSON object")
    return given
