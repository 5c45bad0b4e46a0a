"""Answers in three lines, without the app's page around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response


def bare_answer(
    status: int, found: str, expected: str = "", do: str = "", *, as_json: bool, extra: Mapping[str, Any] | None = None
) -> Response:
    """An error without the app's page around it; what cannot be written in UTF-8 is written out in ASCII."""
    found, expected, do = (line.encode(errors="backslashreplace").decode() for line in (found, expected, do))
    if as_json:
        body = {"error": {"found": found, "expected": expected, "do": do, **(extra or {})}}
        return JSONResponse(body, status)
    return PlainTextResponse("\n".join(line for line in (found, expected, do) if line) + "\n", status)
