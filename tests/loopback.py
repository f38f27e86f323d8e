"""An HTTP server on loopback: plain files that misbehave on demand, and a Hugging Face Hub."""

import base64
import hashlib
import json
import multiprocessing
import os
import re
import sys
import textwrap
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Reply:
    """The reply to one request for a plain file."""

    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    cut: int | None = None  # close the connection after so many bytes of the body
    stall: float = 0.0  # seconds of silence in the middle of the body
    ranges: bool = True  # whether Range is honoured and an ETag sent
    length: bool = True  # whether Content-Length is sent
    trickle: float = 0.0  # seconds between bytes


@dataclass
class Repo:
    """A repository of the Hub: its commits, newest last, and how it behaves."""

    commits: dict = field(default_factory=dict)  # revision -> {path: bytes}
    error: tuple | None = None  # (status, X-Error-Code) for every request
    failures: list = field(default_factory=list)  # statuses of the next GETs
    spoil: bool = False  # send other bytes of the right size

    def add_commit(self, files):
        files = {**(self.files("main") or {}), **files}
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest] = files
        return digest

    def revision(self, name):
        return next(reversed(self.commits), None) if name == "main" else name

    def files(self, revision):
        return self.commits.get(self.revision(revision))


class Loopback:
    """The server; use as a context manager.

    Attributes:
        requests: (method, path) of every request so far.
        tokens: Every value of the Authorization header so far.
        ranges: The Range header of every request so far, None where there was none.
        plain: Path -> replies, used up one by one; the last one stays.
        repos: Repository name -> `Repo`.
    """

    def __init__(self):
        self.requests = []
        self.tokens = set()
        self.ranges = []
        self.plain = {}
        self.repos = {}
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.daemon_threads = True
        self.http.owner = self
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}"

    def link(self, link):
        """Return the address on this server that stands for a link to another host."""
        parts = urlsplit(link)
        return f"{self.url}/{parts.netloc}{parts.path}{'?' * bool(parts.query)}{parts.query}"

    def serve(self, path, *replies):
        """Serve `replies` at `path` in this order and return the path's URL."""
        self.plain[path] = [r if isinstance(r, Reply) else Reply(r) for r in replies]
        return self.url + path

    def mirror(self, row, body, **changes):
        """Return `row` with its sources here, all serving `body`; hashes known are replaced."""
        sources = []
        for source in row.sources:
            links = tuple(self.link(link) for link in source.links)
            for link in links:
                self.serve(link.removeprefix(self.url), body)
            content = body.body if isinstance(body, Reply) else body
            digest = hashlib.sha256(content).hexdigest()
            known = {"sha256": source.sha256 and digest[: len(source.sha256)]}
            known |= {"size": source.size and len(content)} | changes
            sources.append(replace(source, links=links, **known))
        return replace(row, sources=tuple(sources))

    def count(self, method, part=""):
        """Count the requests of `method` with `part` in their path."""
        return sum(m == method and part in path for m, path in self.requests)

    def next_reply(self, path):
        with self.lock:
            replies = self.plain.get(path)
            if not replies:
                return Reply(b"not here", 404)
            return replies.pop(0) if len(replies) > 1 else replies[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def owner(self):
        return self.server.owner

    def do_HEAD(self):
        self.answer(send_body=False)

    def do_GET(self):
        self.answer(send_body=True)

    def answer(self, send_body):
        self.owner.requests.append((self.command, self.path))
        self.owner.ranges.append(self.headers.get("Range"))
        self.owner.tokens.add(self.headers.get("Authorization"))
        path = urlsplit(self.path).path
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found:
            return self.resolve(*found.groups(), send_body)
        described = re.fullmatch(
            r"/api/models/([^/]+/[^/]+)/revision/main", self.path.split("?")[0]
        )
        if described:  # older clients ask before they upload
            return self.reply_json({"id": described[1], "xetEnabled": False})
        return self.plain(self.owner.next_reply(self.path), send_body)

    def plain(self, reply, send_body):
        body, status, headers = reply.body, reply.status, dict(reply.headers)
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if reply.ranges and status == 200:
            headers.setdefault("ETag", etag)
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and self.headers.get("If-Range") in (None, etag):
                start, status = int(wanted[1]), 206
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
        self.send_head(status, headers, len(body) if reply.length else None)
        if send_body:
            self.send_body(body, reply)

    def send_head(self, status, headers, length):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def send_body(self, body, reply):
        middle = len(body) // 2
        try:
            if reply.cut is not None:
                self.wfile.write(body[: reply.cut])
                self.close_connection = True
                return
            for byte in body if reply.trickle else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(reply.trickle)
            self.wfile.write(body[:middle])
            self.wfile.flush()
            time.sleep(reply.stall)
            self.wfile.write(body[middle:])
        except OSError:  # the client went away
            self.close_connection = True

    def resolve(self, name, revision, path, send_body):
        repo = self.owner.repos.get(name)
        if repo is None:
            return self.fail(401, "RepoNotFound")
        if repo.error:
            return self.fail(*repo.error)
        if send_body and repo.failures:
            return self.fail(repo.failures.pop(0), None)
        files = repo.files(revision)
        commit = repo.revision(revision)
        if files is None:
            return self.fail(404, "RevisionNotFound")
        if path not in files:
            return self.fail(404, "EntryNotFound", {"X-Repo-Commit": commit})
        body = files[path]
        etag = hashlib.sha256(body).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        if repo.spoil and path.endswith(".safetensors"):
            body = bytes(len(body))
        return self.plain(Reply(body, headers=headers), send_body)

    def fail(self, status, code, headers=None):
        self.plain(Reply(b"", status, {**(headers or {}), "X-Error-Code": code or ""}), True)

    def do_POST(self):
        self.owner.requests.append((self.command, self.path))
        self.owner.tokens.add(self.headers.get("Authorization"))
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            sent = b"".join(iter(self.read_chunk, b""))
        path = urlsplit(self.path).path
        repo_api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if path == "/api/repos/create":
            self.create(json.loads(sent))
        elif path == "/api/validate-yaml":
            self.reply_json({"errors": [], "warnings": []})
        elif repo_api and repo_api[2] == "preupload":
            names = [file["path"] for file in json.loads(sent)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.reply_json({"files": [{"path": name, **modes} for name in names]})
        elif repo_api:
            self.commit(repo_api[1], [json.loads(line) for line in sent.splitlines()])
        else:
            self.fail(404, None)

    def read_chunk(self):
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def create(self, wanted):
        name = f"{wanted['organization']}/{wanted['name']}"
        repo = self.owner.repos.get(name)
        if repo and repo.error:
            return self.fail(*repo.error)
        self.owner.repos.setdefault(name, Repo())
        return self.reply_json({"url": f"{self.owner.url}/{name}", "name": name, "id": name})

    def commit(self, name, lines):
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        oid = self.owner.repos[name].add_commit(files)
        url = f"{self.owner.url}/{name}/commit/{oid}"
        self.reply_json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def reply_json(self, value):
        body = json.dumps(value).encode()
        self.plain(Reply(body, headers={"Content-Type": "application/json"}, ranges=False), True)


def run_fresh(code, server, home, **environment):
    """Run `code` in a process where huggingface_hub has not read the environment yet.

    The process knows the Hub at `server` alone. The code calls `report(value)`, once, with
    something that JSON can hold, which is returned. Processes are forked from one that has
    imported torch, which saves most of the time.
    """
    settings = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_DISABLE": "1",
    }
    Path(home).mkdir(parents=True, exist_ok=True)
    result, log = (Path(home) / f"{kind}-{uuid.uuid4().hex}" for kind in ("result", "log"))
    arguments = ({**settings, **environment}, textwrap.dedent(code), result, log)
    process = _FORKS.Process(target=_run_code, args=arguments)
    process.start()
    process.join(timeout=120)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0, log.read_text()
    return json.loads(result.read_text())


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["torch", "ddrnet.factory"])


def _run_code(environment, code, result, log):
    with log.open("w") as output:
        os.dup2(output.fileno(), 2)
    assert "huggingface_hub" not in sys.modules
    for name in [name for name in os.environ if name.startswith(("HF_", "DDRNET_"))]:
        del os.environ[name]
    os.environ.update(environment)
    exec(code, {"report": lambda value: result.write_text(json.dumps(value))})
