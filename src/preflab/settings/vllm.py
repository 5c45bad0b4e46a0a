"""Settings of the engine `vllm`: where its server is, and what it does between two steps."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import field_validator

from preflab.settings.base import Settings, setting

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class VllmSettings(Settings):
    """The vLLM server that samples, started with `preflab serve-engine`."""

    url: str = setting(
        "http://127.0.0.1:8000", "Address of the server, on this machine.", "choice: `preflab serve-engine`'s default"
    )
    sleep: bool = setting(
        False,
        "Free the server's GPU memory during the update; the server must be started with `--sleep`.",
        "choice: off, waking takes time",
    )
    timeout_s: float = setting(600.0, "Seconds that the server may take for one answer.", "choice", gt=0)

    @field_validator("url")
    @classmethod
    def _is_on_this_machine(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in LOOPBACK:
            raise ValueError(
                f"{url} is not on this machine: the server reads weights from this machine's memory, so write "
                "http://127.0.0.1 and its port"
            )
        return url.rstrip("/")
