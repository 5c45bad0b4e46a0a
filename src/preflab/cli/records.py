"""`import`, `export` and `score`: records in, records out, and rewards of completions in a file."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this file."""
