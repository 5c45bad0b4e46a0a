"""`check` and `chat`: a model of your own, looked at and talked to."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this file."""
