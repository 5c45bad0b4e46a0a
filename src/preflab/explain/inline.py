"""Makes one HTML file that needs nothing else: data, script and style are written into it, and it may load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab import __version__
from preflab.errors import PreflabError

STATIC = Path(__file__).parent / "static"
LOOK = STATIC.parent.parent / "look.css"
UNSAFE = re.compile("[<>&\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
"""Characters that end a script, that could reorder the source, or that UTF-8 cannot store; JSON writes them as \\u…"""


def inline_page(
    template: str,
    *,
    title: str,
    data: Mapping[str, Any],
    script: str,
    styles: Sequence[str],
    connect: str = "",
    **values: Any,
) -> str:
    """The page of a template as HTML.

    Args:
        template: file in `templates/`, which reads `title`, `policy`, `style`, `script`, `data` and `version`.
        title: title of the page.
        data: what the script reads, from the element `<script type="application/json" id="data">`.
        script: the page's script.
        styles: files in `static/`, added to the style sheet of all pages.
        connect: sources that the script may connect to, such as 'self'; "" for none.
        values: further values of the template.
    """
    style = "\n".join(path.read_text(encoding="utf-8") for path in (LOOK, *(STATIC / name for name in styles)))
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            policy=content_policy(script, connect),
            style=Markup(style),
            script=Markup(script),
            data=json_in_script(data),
            version=__version__,
            **values,
        )
    )


def json_in_script(data: Mapping[str, Any]) -> Markup:
    """JSON that no text in it can break out of, that UTF-8 can store, and that is shown in the order it is read in.

    Raises:
        PreflabError: a number is nan or infinite.
    """
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise PreflabError(
            f"data of a page: {error}", "finite numbers", "write null where a quantity does not exist"
        ) from None
    return Markup(UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def joined_script(names: Sequence[str]) -> str:
    """Files of `static/`, joined into one strict script of its own scope."""
    parts = [(STATIC / name).read_text(encoding="utf-8").strip() for name in names]
    return "\n".join(['(() => {\n"use strict";', *parts, "})();"])


def content_policy(script: str, connect: str = "") -> str:
    """A Content-Security-Policy that runs this one script and loads nothing, so injected markup cannot run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = [
        "default-src 'none'", f"script-src 'sha256-{digest}'", "style-src 'unsafe-inline'", "img-src data:",
        "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    return "; ".join([*rules, *([f"connect-src {connect}"] if connect else [])])


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("preflab.explain"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
