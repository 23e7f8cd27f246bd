"""The Hugging Face hub on this machine: its cache as a download leaves it, and a server with the real one's faults.

Routes, headers and error codes are those that huggingface_hub asks for and reads (its `hf_api.py`, `file_download.py`
and `utils/_http.py`).
"""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit


def put_into_cache(folder: Path, cache: Path, model: str, revision: str, ref: str | None = "main") -> Path:
    """A model's folder as `models--ORG--NAME/{blobs,snapshots,refs}`; returns the snapshot."""
    home = cache / f"models--{model.replace('/', '--')}"
    snapshot = home / "snapshots" / revision
    for part in (home / "blobs", snapshot, home / "refs"):
        part.mkdir(parents=True, exist_ok=True)
    for file in sorted(file for file in folder.iterdir() if file.is_file() and file.name != "checksums.json"):
        blob = home / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    if ref:
        (home / "refs" / ref).write_text(revision)
    return snapshot


@dataclass
class Hub:
    """What is served, and what was asked.

    Attributes:
        files: of its one model, name → content.
        model, revision: its name and commit.
        gated: whether the files need a licence that nobody accepted.
        token: the one that is right.
        breaks_after: bytes of an answer after which the connection is cut, one for each answer with a file; then none.
        always_breaks_at: byte of every large file where each connection is cut, if any.
        asked: method, path and Range of each question, in order.
        sent: bytes of each file.
        address: where it is served.
        refuses: a status for every question, as of a proxy.
        page: an answer to every question, as of a network that wants a log-in.
        etag, commit, sha, oid, onward: what a server that lies says: the tag of every file, the commit on it, the one
            that the model is at, each hash in the list of files, and the address of that list's next page.
        parameters: that it counted, if it says.
    """

    files: dict[str, bytes]
    model: str
    revision: str = "0123456789abcdef0123456789abcdef01234567"
    gated: bool = False
    token: str = "right"
    breaks_after: list[int] = field(default_factory=list)
    always_breaks_at: int | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    address: str = ""
    refuses: int = 0
    page: bytes = b""
    etag: str = ""
    commit: str = ""
    sha: str = ""
    oid: str = ""
    onward: str = ""
    parameters: int = 0


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.address` while the block runs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("Range", "")))
            if hub.refuses or hub.page:
                return self._answer(hub.refuses or 200, hub.page)
            given = self.headers.get("Authorization")
            if given and given != f"Bearer {hub.token}":
                return self._refuse(401, message="Invalid credentials in Authorization header")
            if path == "/":
                return self._answer(200, b"")
            if path == f"/api/models/{hub.model}":
                path += "/revision/main"
            if not path.removeprefix("/api/models").startswith(f"/{hub.model}/"):
                return self._refuse(404 if given else 401, "RepoNotFound", "Repository not found")
            kind, revision, *name = path.partition(f"/{hub.model}/")[2].replace(hub.sha or "\0", "main").split("/")
            if revision not in (hub.revision, "main"):
                return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            if kind == "revision":
                siblings = [{"rfilename": name, "size": len(content)} for name, content in hub.files.items()]
                counted = {"parameters": {}, "total": hub.parameters} if hub.parameters else None
                found = {"id": hub.model, "sha": hub.sha or hub.revision, "siblings": siblings}
                return self._json(found | {"safetensors": counted})
            if kind == "tree":
                return self._json(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": _sha(content)} | _lfs(hub.oid)
                        for name, content in hub.files.items()
                    ],
                    {"Link": hub.onward and f'<{hub.address}{hub.onward}>; rel="next"'},
                )
            if hub.gated:
                return self._refuse(403 if given else 401, "GatedRepo", "Access to this model is restricted")
            return self._file("/".join(name))

        def _file(self, name):
            if name not in hub.files:
                return self._refuse(404, "EntryNotFound", "Entry not found")
            content = hub.files[name]
            start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
            headers = {
                "X-Repo-Commit": hub.commit or hub.revision,
                "ETag": f'"{hub.etag or _sha(content)}"',
                "Accept-Ranges": "bytes",
            }
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body, end = content[start:], None
            if self.command == "GET":
                if hub.breaks_after:
                    end = hub.breaks_after.pop(0)
                elif hub.always_breaks_at is not None and len(content) > hub.always_breaks_at:
                    end = max(hub.always_breaks_at - start, 0)
                hub.sent[name] = hub.sent.get(name, 0) + len(body[:end])
            self._answer(206 if start else 200, body, headers, end)

        def _json(self, what, headers=None):
            self._answer(200, json.dumps(what).encode(), {"Content-Type": "application/json"} | (headers or {}))

        def _refuse(self, status, code="", message=""):
            self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

        def _answer(self, status, body, headers=None, end=None):
            self.send_response(status)
            for key, value in (headers or {}).items():
                if value:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(OSError):
                    self.wfile.write(body[:end])
            if end is not None:
                self.close_connection = True

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


def _sha(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _lfs(oid: str) -> dict:
    return {"lfs": {"oid": oid, "size": 1, "pointerSize": 1}, "xetHash": "0" * 64} if oid else {}
