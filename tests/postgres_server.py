"""A throw-away PostgreSQL server on loopback for the tests that need one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def server_folder() -> Path | None:
    """The folder with initdb and pg_ctl, the newest version where there are several; None where there is none."""
    on_path = shutil.which("pg_ctl")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda file: int(file.parts[-3]))
    found = Path(on_path) if on_path else (installed[-1] if installed else None)
    return found.resolve().parent if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres_server(programs: Path, *, durable: bool = False) -> Iterator[str]:
    """Start a server with an empty database, give its SQLAlchemy URL, stop and delete it.

    Unless it is to be `durable`, as servers are, it does not wait for the disk: the tests need no more.
    The server refuses to run as root, so root runs it as the user `postgres`.
    """
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="preflab-postgres-"))
    if as_user:
        shutil.chown(folder, "postgres")
    port = _free_port()

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd="/", timeout=120)

    data, options = str(folder / "data"), f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    options += "" if durable else " -c fsync=off"
    try:
        run(str(programs / "initdb"), "-D", data, "-U", "preflab", "--auth=trust", "--encoding=UTF8", "--no-sync")
        run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql+psycopg://preflab@127.0.0.1:{port}/postgres"
        finally:
            run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
