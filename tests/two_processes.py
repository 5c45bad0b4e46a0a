"""A function in two fresh processes that talk through gloo, to be compared with the same function in this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from importlib import import_module
from pathlib import Path
import torch
torch.set_num_threads(1)
module, _, name = sys.argv[1].partition(":")
getattr(import_module(module), name)(Path(sys.argv[2]), *sys.argv[3:])
"""


def call_in_two_processes(function: str, folder: Path, *arguments: str) -> None:
    """Calls `module:function` with the folder and the arguments in two processes; modules are found as in tests/."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    shared = {**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, function, str(folder), *arguments],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-3000:]
