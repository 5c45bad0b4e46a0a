"""Checks the values of a request before they are used: JSON bodies, addresses, queries, forms.

A value that a database cannot store is refused with status 422 and the name of its field (see `storable`).
"""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, unquote_to_bytes

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, Headers
from starlette.requests import Request
from starlette.types import Scope

from preflab.labelling.errors import Invalid
from preflab.storable import LARGEST, Unstorable, unstorable, unstorable_text

DIGITS = 25
"""Digits of the longest whole number that is parsed; the time for parsing grows with the square of the digits."""

MOST_FIELDS = 2000
"""Largest number of fields of a form."""

CHARSETS = ("utf-8", "utf8", "us-ascii")


def wrong_in_json(body: bytes) -> Unstorable | None:
    """What is wrong with a JSON body; None if nothing is, or if it is empty, which the framework reports."""
    if not body.strip():
        return None
    try:
        read = DECODER.decode(body.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        return Unstorable("", f"a body that is not UTF-8 (byte {error.start + 1})", "JSON in UTF-8")
    except json.JSONDecodeError as error:
        return Unstorable("", f"a body that is not JSON ({error.msg}, character {error.pos + 1})", "JSON")
    except RecursionError:
        return Unstorable("", "a body nested too deeply", "fewer levels of lists and objects")
    return unstorable(read)


def is_checked(headers: Headers) -> bool:
    """Whether the body is checked before it is used: JSON, or a form without files."""
    kind = headers.get("content-type", "").lower()
    return "json" in kind or "urlencoded" in kind


def wrong_in_kind(headers: Headers) -> Unstorable | None:
    """What is wrong with a form's encoding; some of Python's encodings decode to characters that cannot be stored."""
    kind = headers.get("content-type", "")
    charset = _charset(kind)
    if "form" not in kind.lower() or charset in CHARSETS:
        return None
    return Unstorable("", f"a form in {charset!r:.40}", "a form in UTF-8")


def wrong_in_body(headers: Headers, body: bytes) -> Unstorable | None:
    """What is wrong with the body of a request for which `is_checked` is true."""
    if "json" in headers.get("content-type", "").lower():
        return wrong_in_json(body)
    return _wrong_pair(body.decode("latin-1"), MOST_FIELDS)


def wrong_in_address(scope: Scope) -> Unstorable | None:
    """What is wrong with the path or the query of a request; None if nothing is."""
    raw = scope.get("raw_path") or scope["path"].encode()
    wrong = _wrong_in_bytes(unquote_to_bytes(raw))
    if wrong:
        return Unstorable("the address", wrong, "text in UTF-8")
    query = scope.get("query_string", b"").decode("latin-1")
    return _wrong_pair(query) if "%" in query or not query.isascii() else None


def storable(text: str) -> str:
    """A validator for pydantic: the text of a form's field.

    Raises:
        ValueError: the text cannot be stored.
    """
    if wrong := unstorable_text(text):
        raise ValueError(wrong)
    return text


async def checked_form(request: Request, *, max_files: int = 0, max_fields: int = MOST_FIELDS) -> FormData:
    """Read the form of a request.

    Raises:
        Invalid: a field cannot be stored (its name is given), or the body is not a form.
    """
    try:
        form = await request.form(max_files=max_files, max_fields=max_fields)
    except FormParserError:
        raise Invalid("a form that cannot be read", "the form of a page of this app") from None
    for name, value in form.multi_items():
        text = value if isinstance(value, str) else value.filename or ""
        _refuse(unstorable({name: text}))
    return form


def _refuse(wrong: Unstorable | None) -> None:
    if wrong is not None:
        raise Invalid(f"{wrong.where}: {wrong.found}" if wrong.where else wrong.found, wrong.expected)


def _charset(kind: str) -> str:
    for part in kind.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return CHARSETS[0]


def _wrong_pair(query: str, most: int = 1000) -> Unstorable | None:
    """What is wrong with the first bad name or value of `a=1&b=2`, or with the number of fields."""
    if query.count("&") >= most:
        return Unstorable("", "too many fields", f"at most {most:,}")
    for name, value in parse_qsl(query, keep_blank_values=True, encoding="latin-1"):
        wrong = _wrong_in_bytes(name.encode("latin-1")) or _wrong_in_bytes(value.encode("latin-1"))
        if wrong:
            return Unstorable(name.encode("latin-1").decode("utf-8", "replace")[:80], wrong, "text in UTF-8")
    return None


def _wrong_in_bytes(data: bytes) -> str:
    try:
        return unstorable_text(data.decode())
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"


def _parse_int(text: str) -> int:
    return int(text) if len(text) < DIGITS else LARGEST + 1


DECODER = json.JSONDecoder(parse_int=_parse_int)
