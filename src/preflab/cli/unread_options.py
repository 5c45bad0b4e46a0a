"""Refuses options of a command line that another option, or the game, leaves without effect."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from preflab.errors import PreflabError


def refuse_unread(context: typer.Context, names: Sequence[str], beside: str) -> None:
    """Refuse options that the command line sets although nothing would read them.

    Args:
        context: of the command.
        names: the parameters of the command that have no effect.
        beside: the reason, such as `--by ppo`.

    Raises:
        PreflabError: one of them was set.
    """
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise PreflabError(
                f"{options[name]} beside {beside}", "only options that have an effect", f"leave {options[name]} out"
            )
