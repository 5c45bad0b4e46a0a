"""Error responses in three lines, as plain text or JSON, without the layout of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response


def bare_answer(
    status: int, found: str, expected: str = "", do: str = "", *, as_json: bool, extra: Mapping[str, Any] | None = None
) -> Response:
    """An error response without the layout of a page; characters that UTF-8 cannot encode are escaped in ASCII."""
    found, expected, do = (line.encode(errors="backslashreplace").decode() for line in (found, expected, do))
    if as_json:
        body = {"error": {"found": found, "expected": expected, "do": do, **(extra or {})}}
        return JSONResponse(body, status)
    return PlainTextResponse("\n".join(line for line in (found, expected, do) if line) + "\n", status)
