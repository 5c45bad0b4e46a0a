"""Checks the clips of playouts: none is missing, each fits its moves, and those of one prompt agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from preflab.clips import COLUMN, Frame, clip_in
from preflab.errors import PreflabError
from preflab.labelling.errors import Invalid
from preflab.records import Prompt, Span
from preflab.store.formats.asked import Words
from preflab.store.formats.json_rows import BadRow
from preflab.store.record_reading import CHUNK, chunks
from preflab.store.schema import CompletionRow


class SeenClips:
    """The pictures seen so far. After equal moves from one prompt a game shows equal pictures."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, tuple[str, ...]], Frame] = {}
        """(prompt id, moves so far) → the picture."""

    def check(self, prompt: Prompt, contents: Sequence[Words], columns: Mapping[str, Any]) -> None:
        """Check the clip of a row with one completion.

        Raises:
            BadRow: several completions in a row, turns, a clip that does not fit the moves, or one that contradicts an
                earlier clip of the prompt.
        """
        if len(contents) != 1 or contents[0].turns:
            raise BadRow(
                "several completions, or turns, in a row of playouts",
                f"`prompt`, `completion` and `{COLUMN}` in each row",
            )
        clip = clip_in(columns.get(COLUMN), contents[0].text)
        for number, frame in enumerate(clip.frames):
            known = self._frames.setdefault((prompt.id, clip.moves[:number]), frame)
            if known != frame:
                raise BadRow(
                    f"frame {number} differs from that of an earlier clip of this prompt after the same moves",
                    "clips of one game, each with its own moves",
                )


def require_clips(connection: Connection, groups: Sequence[Sequence[str]]) -> None:
    """Refuse completions that cannot be shown as clips.

    Raises:
        Invalid: one of the completions has no clip, or one that does not fit its moves.
    """
    table = CompletionRow.__table__
    for part in chunks(sorted({completion_id for group in groups for completion_id in group}), CHUNK):
        rows = connection.execute(select(table.c.spans, table.c.columns).where(table.c.id.in_(part)))
        for spans, columns in rows:
            text = "".join(Span.from_parts(each).text for each in spans)
            try:
                clip_in(columns.get(COLUMN), text)
            except PreflabError as error:
                raise Invalid(
                    f"content: playout, and {text!r:.60} has {error.found}", error.expected, error.do
                ) from None
