"""Pages as Jinja2 templates: `page()` renders one; each module here is a router."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from preflab import __version__
from preflab.web.rendering import isolated, rendered, rendered_completion, rendered_prompt

WEB = Path(__file__).resolve().parents[1]
LOOK = WEB.parent / "look.css"


def page(request: Request, template: str, *, code: int = 200, **context: Any) -> HTMLResponse:
    """A page from a template; templates extend `base.html.j2` and know `me` (the account, or None) and `request`."""
    me = getattr(request.state, "me", None)
    text = _environment().get_template(template).render(request=request, me=me, **context)
    return HTMLResponse(text, code)


@cache
def static_file(name: str) -> tuple[bytes, str] | None:
    """Content and version (the hash of its bytes) of a file under /static, or None."""
    known = {file.name: file for file in (WEB / "static").iterdir() if file.is_file()} | {"look.css": LOOK}
    if name not in known:
        return None
    data = known[name].read_bytes()
    return data, hashlib.sha256(data).hexdigest()[:12]


def static_url(name: str) -> str:
    """The address of a static file, with its version, so that a browser may keep it."""
    found = static_file(name)
    if found is None:
        raise FileNotFoundError(name)
    return f"/static/{name}?v={found[1]}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("preflab.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(version=__version__, static=static_url)
    environment.filters.update(
        rendered=rendered, rendered_prompt=rendered_prompt, rendered_completion=rendered_completion, isolated=isolated
    )
    return environment
