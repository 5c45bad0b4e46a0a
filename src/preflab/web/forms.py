"""The fields of a submitted form, for pages whose field names are not fixed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import ImmutableMultiDict

from preflab.web.values import checked_form


async def form_fields(request: Request) -> ImmutableMultiDict[str, str]:
    """The text fields of a form, without files; as a dependency, so that pages can be plain functions in threads."""
    form = await checked_form(request)
    return ImmutableMultiDict([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


Fields = Annotated[ImmutableMultiDict[str, str], Depends(form_fields)]
