"""One server a workspace, named to a second one; and links that never lead to a port that is gone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labelling_load import SOURCE, Server
from labelling_world import new_database
from preflab.errors import PreflabError
from preflab.labelling.address import USUAL, address, is_served, sole, write_address
from preflab.store.opening import VARIABLE
from preflab.store.workspace import Workspace


def second(folder: Path, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Another `preflab label` on the workspace, which ends by itself where it is refused."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)} | ({VARIABLE: url} if url else {})
    command = [sys.executable, "-m", "preflab", "label", "--workspace", str(folder), "--port", "0"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def test_a_second_server_is_refused_by_the_first_s_name(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    with Server(folder) as server:
        before = json.loads((folder / "label.json").read_text())
        refused = second(folder)
        assert refused.returncode != 0
        assert server._running is not None
        assert f"process {server._running.pid} " in refused.stderr
        assert server.url in refused.stderr
        assert f"kill {server._running.pid}" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert json.loads((folder / "label.json").read_text()) == before
        assert address(folder) == server.url
        server.kill_and_start()  # a lock of a process that was killed is nobody's
        assert address(folder) == server.url
    assert not is_served(folder)


def test_a_port_that_was_free_by_chance_is_no_address_once_it_is_gone(tmp_path: Path) -> None:
    with sole(tmp_path):
        write_address(tmp_path, "http://127.0.0.1:50123", stays=False)
        assert address(tmp_path) == "http://127.0.0.1:50123"
    assert address(tmp_path) == USUAL
    write_address(tmp_path, "https://label.example.org")
    assert address(tmp_path) == "https://label.example.org"
    (tmp_path / "label.json").write_text('{"url": "http://127.0.0.1:8500"}')  # as older versions wrote it
    assert address(tmp_path) == "http://127.0.0.1:8500"


def test_the_right_to_serve_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with sole(tmp_path):
            assert is_served(tmp_path)
            with pytest.raises(PreflabError, match=f"process {os.getpid()} "), sole(tmp_path):
                pass
    assert not is_served(tmp_path)
    with sole(tmp_path / "shared", shared=True), sole(tmp_path / "shared", shared=True):
        pass


def test_nothing_is_restored_under_a_server(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "w", create=True) as ws:
        ws.backup(tmp_path / "saved.db")
    command = [
        sys.executable,
        "-m",
        "preflab",
        "restore",
        str(tmp_path / "saved.db"),
        "--workspace",
        str(tmp_path / "w"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with Server(tmp_path / "w") as server:
        refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode != 0
    assert f"`preflab label` serves it at {server.url}" in refused.stderr
    assert "end `preflab label` first" in refused.stderr


def test_behind_postgresql_several_servers_share_a_workspace(tmp_path: Path, postgres_url: str) -> None:
    url = new_database(postgres_url)
    with Server(tmp_path / "w", url) as first, Server(tmp_path / "w", url) as other:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", other.url)
        assert other.url != first.url
