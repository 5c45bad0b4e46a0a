"""A Hugging Face Hub as far as a push needs it: who am I, is there such a repository, make it, take a commit."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"


@dataclass
class Hub:
    """What the server knows."""

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository → its files."""
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    cards: list[str] = field(default_factory=list)
    """README.md files it was asked to look at."""
    takes_commits: bool = True


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A Hub on a port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._handle("GET", b"")

        def do_POST(self) -> None:
            self._handle("POST", self._body())

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        def _handle(self, method: str, body: bytes) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{method} {path}")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer(401, {"error": "Invalid credentials"})
                return
            self._answer(*answered(hub, path, body))

        def _answer(self, code: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if code == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def answered(hub: Hub, path: str, body: bytes) -> tuple[int, Any]:
    """Status and content for a request of somebody with the right token."""
    if path == "/api/whoami-v2":
        return 200, {"type": "user", "name": "ann", "orgs": [], "auth": {"type": "access_token"}}
    if path == "/api/repos/create":
        asked = json.loads(body)
        owner, name = asked.get("organization") or "ann", asked["name"]
        repo = f"{owner}/{name}"
        hub.repos.setdefault(repo, {})
        hub.private.setdefault(repo, asked.get("visibility") == "private" or bool(asked.get("private")))
        return 200, {"url": f"{hub.url}/{repo}", "name": repo, "id": repo}
    if path == "/api/validate-yaml":
        hub.cards.append(json.loads(body)["content"])
        return 200, {"errors": [], "warnings": []}
    _, _, rest = path.partition("/api/models/")
    repo, what = "/".join(rest.split("/")[:2]), rest.split("/")[2:]
    if repo not in hub.repos:
        return 404, {"error": "Repository not found"}
    if not what or what[0] == "revision":
        files = [{"rfilename": name} for name in hub.repos[repo]]
        return 200, {"id": repo, "modelId": repo, "private": hub.private[repo], "siblings": files, "sha": "0" * 40}
    if what[0] == "preupload":
        files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
        return 200, {"files": files}
    if what[0] == "commit" and hub.takes_commits:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                hub.repos[repo][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return 200, {"success": True, "commitUrl": f"{hub.url}/{repo}/commit/{'1' * 40}", "commitOid": "1" * 40}
    return 403, {"error": "You are not allowed to write here"}
