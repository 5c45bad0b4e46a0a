"""Pages as Jinja2 templates: `page()` renders one; each module here is a router."""

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
    """A page from a template; templates extend `base.html.j2` and know `me` (the account, or None) and `request`."""
    me = getattr(request.state, "me", None)
    text = _environment().get_template(template).render(request=request, me=me, **context)
    return HTMLResponse(text, code)


@cache
def static_files() -> Mapping[str, bytes]:
    """Name → content of the files under /static."""
    files = [LOOK, *sorted(file for file in (WEB / "static").iterdir() if file.is_file())]
    return {file.name: file.read_bytes() for file in files}


@cache
def static_version() -> str:
    """The hash of all static files.

    It names the folder they are served from, not each file: modules import one another by their plain names, and those
    too shall be kept by browsers, not asked for at every task.
    """
    return hashlib.sha256(b"".join(data for _, data in sorted(static_files().items()))).hexdigest()[:12]


def static_url(name: str) -> str:
    """The address of a static file, with the version of all in it."""
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
