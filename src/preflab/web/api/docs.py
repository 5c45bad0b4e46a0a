"""The documentation page of the API: its OpenAPI schema as HTML, without scripts and without external resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from preflab.web.identity import who
from preflab.web.pages import page

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Operation:
    """One path with one HTTP method."""

    method: str
    path: str
    tag: str
    summary: str
    parameters: list[dict[str, Any]]
    takes: str
    gives: str


@router.get("/api/docs")
def show_docs(request: Request) -> Response:
    """The page that lists every operation of the API with its request and response."""
    who(request)
    schema = request.app.openapi()
    return page(
        request, "api.html.j2", operations=operations(schema), name_of=name_of,
        shapes=schema.get("components", {}).get("schemas", {}),
    )  # fmt: skip


def operations(schema: dict[str, Any]) -> list[Operation]:
    """The operations of an OpenAPI schema, in its order."""
    return [
        Operation(
            method.upper(), path, (each.get("tags") or [""])[0], each.get("description", ""),
            each.get("parameters", []), name_of(_content(each.get("requestBody", {}))),
            name_of(_content(_success(each))),
        )
        for path, methods in schema["paths"].items()
        for method, each in methods.items()
    ]  # fmt: skip


def name_of(schema: dict[str, Any]) -> str:
    """A short name of a schema: `CampaignShape`, `list of CampaignShape`, `integer`, `text or null`."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(name_of(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {name_of(schema.get('items', {}))}"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    return {"string": "text"}.get(schema.get("type", ""), schema.get("type", ""))


def _success(operation: dict[str, Any]) -> dict[str, Any]:
    successes = [each for code, each in operation["responses"].items() if code.startswith("2")]
    return successes[0] if successes else {}


def _content(part: dict[str, Any]) -> dict[str, Any]:
    for kind, content in part.get("content", {}).items():
        return content.get("schema") or {"type": kind}
    return {}
