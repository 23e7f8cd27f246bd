"""A package index on this machine, with the faults of real ones."""

import contextlib
import hashlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SELF_SIGNED = Path(__file__).with_name("self_signed.pem")
"""A certificate for localhost and 127.0.0.1 until 2126, and its key, which protects nothing."""


@dataclass
class Index:
    """What is served, and what was asked.

    Attributes:
        files: name → content, all of them linked on every project's page.
        breaks_after: bytes of a file after which the connection is cut, one for each answer; then none.
        ranges: whether a file may be asked for in part.
        form: of a page, "html", "json", "json+", which says sizes and hashes, or what it says.
        password: "name:password" that is asked for, if any.
        status: of every file's answer, if not 200.
        redirects_to: where every question is sent on to, if anywhere.
        asked: path and Range of each question, in order.
    """

    files: dict[str, bytes]
    breaks_after: list[int] = field(default_factory=list)
    ranges: bool = True
    form: str = "html"
    password: str = ""
    status: int = 200
    redirects_to: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    authorized: list[str] = field(default_factory=list)
    address: str = ""


@contextlib.contextmanager
def serve(index: Index, tls: bool = False) -> Iterator[Index]:
    """The index at `index.address` while the block runs; with `tls` its certificate is `SELF_SIGNED`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            index.asked.append((self.path, self.headers.get("Range", "")))
            index.authorized.append(self.headers.get("Authorization", ""))
            if index.redirects_to:
                return self._answer(302, b"", {"Location": index.redirects_to + self.path.removeprefix("/simple")})
            if index.password and not self.headers.get("Authorization"):
                return self.send_error(401)
            if self.path.endswith("/"):
                return self._page()
            return self._file(index.files.get(self.path.rpartition("/")[2]))

        def _page(self):
            links = [f"../../files/{name}" for name in index.files]
            if index.form == "json+":
                described = [
                    {"url": link, "size": len(content), "hashes": {"sha256": hashlib.sha256(content).hexdigest()}}
                    for link, content in zip(links, index.files.values())
                ]
                body = json.dumps({"files": described})
            elif index.form not in ("html", "json"):
                body = index.form
            elif index.form == "json":
                body = json.dumps({"files": [{"url": link, "filename": link[12:]} for link in links]})
            else:
                body = "<html><a>no link</a>" + "".join(f'<a href="{link}#sha256=0">{link}</a>' for link in links)
            self._answer(200, body.encode(), {})

        def _file(self, content):
            if content is None or index.status != 200:
                return self.send_error(404 if content is None else index.status)
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            if not index.ranges or not start:
                return self._answer(200, content, {})
            if start >= len(content):
                return self.send_error(416)
            whole = len(content)
            self._answer(206, content[start:], {"Content-Range": f"bytes {start}-{whole - 1}/{whole}"})

        def _answer(self, status, body, headers):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            cut = index.breaks_after.pop(0) if index.breaks_after and "files" in self.path else len(body)
            self.wfile.write(body[:cut])
            self.close_connection = True

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            """Whoever does not trust the certificate goes away; no traceback of that."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(SELF_SIGNED)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        index.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/simple"
        yield index
        server.shutdown()
