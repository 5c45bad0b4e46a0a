"""What a form sent, for pages whose fields are not known beforehand."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import ImmutableMultiDict

from preflab.web.values import checked_form


async def form_fields(request: Request) -> ImmutableMultiDict[str, str]:
    """The texts of a form by field name, so that pages can be plain functions in threads; files are left out."""
    form = await checked_form(request)
    return ImmutableMultiDict([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


Fields = Annotated[ImmutableMultiDict[str, str], Depends(form_fields)]
