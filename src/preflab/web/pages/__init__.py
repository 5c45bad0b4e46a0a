"""The pages of the app: `page()` renders a Jinja2 template; each module here defines the routes of some pages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from preflab import __version__
from preflab.settings.feedback import MOST_LABELS
from preflab.web.rendering import instructions, isolated, rendered, rendered_completion, rendered_prompt
from preflab.words import count, plural, rounded

WEB = Path(__file__).resolve().parents[1]
LOOK = WEB.parent / "look.css"


def page(request: Request, template: str, *, code: int = 200, **context: Any) -> HTMLResponse:
    """Render a template, which extends `base.html.j2` and gets `request` and `me` (the account or None)."""
    me = getattr(request.state, "me", None)
    text = _environment().get_template(template).render(request=request, me=me, **context)
    return HTMLResponse(text, code)


@cache
def static_files() -> Mapping[str, bytes]:
    """Name → content of the files served under /static."""
    files = [LOOK, *sorted(file for file in (WEB / "static").iterdir() if file.is_file())]
    return {file.name: file.read_bytes() for file in files}


@cache
def static_version() -> str:
    """The hash of all static files, which is part of their addresses.

    It names the folder instead of each file because scripts import one another by plain file names. Browsers can then
    cache the imported files too, instead of asking for them at every task.
    """
    return hashlib.sha256(b"".join(data for _, data in sorted(static_files().items()))).hexdigest()[:12]


def static_url(name: str) -> str:
    """The address of a static file, including the version of all static files."""
    if name not in static_files():
        raise FileNotFoundError(name)
    return f"/static/{static_version()}/{name}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("preflab.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    words = {"count": count, "plural": plural, "rounded": rounded}
    environment.globals.update(version=__version__, static=static_url, most_labels=MOST_LABELS, **words)
    environment.filters.update(
        rendered=rendered,
        rendered_prompt=rendered_prompt,
        rendered_completion=rendered_completion,
        isolated=isolated,
        instructions=instructions,
    )
    return environment
