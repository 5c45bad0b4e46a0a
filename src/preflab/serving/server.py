"""Starts vLLM's server for the engine `vllm`, waits until it is healthy, and stops it with this process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from preflab.errors import PreflabError

HOST = "127.0.0.1"
"""The only address: development routes change weights, and would let anybody on the network do so."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Largest adapter ranks that vLLM can be started with."""
LINES_SHOWN = 15
PATIENCE_S = 1800.0
"""Seconds until a server that is not healthy is given up; a first start compiles kernels."""


@dataclass(frozen=True)
class ServerOptions:
    """The options that the server is started with."""

    model: str
    port: int = 8000
    lora_rank: int | None = 64
    """Largest rank of an adapter; None: no adapters, the server gets all weights."""
    masks: bool = False
    sleeps: bool = False
    transfers: bool = False
    """Whether all weights can be read from the trainer's GPU memory. The server then unpickles what it is sent."""
    dtype: str = "auto"
    max_length: int | None = None
    memory: float = 0.3
    """Share of the GPU's memory."""
    on_cpu: bool = False

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{HOST}:{self.port}"


def server_command(python: Path, options: ServerOptions) -> list[str]:
    """The command that starts the server.

    Raises:
        PreflabError: adapters of this rank cannot be served.
    """
    words = [str(python.parent / "vllm"), "serve", options.model, "--host", HOST, "--port", str(options.port)]
    words += ["--enable-scale-out", "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"]
    words += ["--dtype", options.dtype, "--disable-uvicorn-access-log"]
    if options.lora_rank is not None:
        rank = next((rank for rank in RANKS if rank >= options.lora_rank), None)
        if rank is None:
            raise PreflabError(f"--lora-rank {options.lora_rank}", f"at most {RANKS[-1]}", "train a smaller adapter")
        words += ["--enable-lora", "--max-lora-rank", str(rank), "--max-loras", "1", "--max-cpu-loras", "2"]
    if options.max_length is not None:
        words += ["--max-model-len", str(options.max_length)]
    words += ["--return-sampling-mask"] if options.masks else []
    words += ["--enable-sleep-mode"] if options.sleeps else []
    words += ["--weight-transfer-config", '{"backend": "ipc"}'] if options.transfers else []
    return words + (["--enforce-eager"] if options.on_cpu else ["--gpu-memory-utilization", str(options.memory)])


def server_environment(given: Mapping[str, str], *, on_cpu: bool, transfers: bool = False) -> dict[str, str]:
    """The server's environment variables; those of this process's Python are left out."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {
        **{name: value for name, value in given.items() if name not in own},
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        **({"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"} if transfers else {}),
        **({"VLLM_CPU_KVCACHE_SPACE": "1"} if on_cpu and "VLLM_CPU_KVCACHE_SPACE" not in given else {}),
    }


@contextmanager
def running(
    command: list[str], url: str, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A healthy server; it is stopped when the block ends.

    Raises:
        PreflabError: the port is taken, or the server ends or is not healthy in time; its last lines are shown.
    """
    if _is_healthy(url):
        raise PreflabError(f"{url}: a server answers already", "a free port", "stop it, or choose another --port")
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
        )
    try:
        _wait_until_healthy(process, url, log)
        yield process
    finally:
        _stop(process)


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not _is_healthy(url):
        code = process.poll()
        if code is not None or time.monotonic() > end:
            raise PreflabError(
                f"the server {'is not healthy yet' if code is None else f'ended with code {code}'}; its log ends with\n"
                f"{last_lines(log)}",
                "a server that starts",
                f"correct what the log says ({log})",
            )
        time.sleep(0.5)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it has started."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
        if sent == signal.SIGTERM:
            time.sleep(0.5)  # its workers end after it; those that do not are killed


def last_lines(log: Path) -> str:
    """The last lines of a log that say something."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-LINES_SHOWN:])
