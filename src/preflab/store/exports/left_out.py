"""Counts the parts of records that an export format cannot hold, which an import of the file would not restore.

A format states the parts that it keeps (`Export.keeps`, and `Export.beside` for columns that a strict export omits);
every other part of the exported records is counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from preflab.records import Completion, Judgment, Preference, Prompt
from preflab.store.exports.base import Export, Material
from preflab.store.exports.decided_pairs import SIDE_SCORES
from preflab.store.formats import FORMATS
from preflab.store.formats.columns import OF_TEMPLATE
from preflab.store.formats.judgment_records import fails
from preflab.store.formats.prompts import UNLEARNED

Record = Prompt | Completion | Preference | Judgment
Parts = Iterator[tuple[str, ...]]
"""Keys of parts; each key is counted once, even if several records refer to it."""
OWN_MODELS = {*FORMATS, "trl", "openai", "demonstration", "oasst-person"}
"""Model names that imports use if a file has none."""


def _failed(record: Record, material: Material) -> Parts:
    if isinstance(record, Preference):
        marks = [rank is None for rank in record.ranks]
    elif isinstance(record, Judgment):
        marks = fails(record.answer, len(record.completion_ids))
    else:
        return
    ids = record.completion_ids
    yield from ((record.id, each) for each, failed in zip(ids, marks, strict=True) if failed)


def _finish_reasons(record: Record, material: Material) -> Parts:
    yield from ((each.id,) for each in _completions(record, material) if each.finish_reason != "imported")


def _tokens(record: Record, material: Material) -> Parts:
    yield from ((each.id,) for each in _completions(record, material) if each.token_ids)


def _models(record: Record, material: Material) -> Parts:
    yield from ((each.id,) for each in _completions(record, material) if each.model not in OWN_MODELS)


def _columns(record: Record, material: Material) -> Parts:
    for each in _completions(record, material):
        yield from ((each.id, name) for name in each.columns if name != UNLEARNED)


def _asked_columns(record: Record, material: Material) -> Parts:
    prompt = record if isinstance(record, Prompt) else material.prompts[record.prompt_id]
    yield from ((prompt.id, name) for name in prompt.columns if name not in OF_TEMPLATE)


def _scores(record: Record, beside_a_pair: bool) -> Parts:
    """The scores by the criteria in `SIDE_SCORES`, or by all others."""
    scores = record.scores if isinstance(record, Preference) else {}
    for name, row in scores.items():
        if (name in SIDE_SCORES) == beside_a_pair:
            places = [place for place, score in enumerate(row) if score is not None]
            yield from ((record.id, name, str(place)) for place in places)


def _thumbs(record: Record, material: Material) -> Parts:
    thumbs = record.thumbs if isinstance(record, Preference) else ()
    yield from ((record.id, str(place)) for place, share in enumerate(thumbs) if share is not None)


def _pairs(record: Record, material: Material) -> Parts:
    pairs = record.pairs if isinstance(record, Preference) else ()
    yield from ((record.id, str(pair.first), str(pair.second)) for pair in pairs if pair.learned)


def _notes(record: Record, material: Material) -> Parts:
    if isinstance(record, Judgment) and record.note:
        yield (record.id,)


def _answers(record: Record, material: Material) -> Parts:
    if isinstance(record, Judgment) and (record.answer.criteria or record.answer.verdicts):
        yield (record.id,)


PARTS: dict[str, tuple[str, Callable[[Any, Material], Parts]]] = {
    "failed": ("marks F", _failed),
    "finish_reason": ("finish reasons of completions", _finish_reasons),
    "tokens": ("tokens and log-probabilities of completions", _tokens),
    "models": ("models of completions", _models),
    "columns": ("columns of completions", _columns),
    "asked_columns": ("columns of prompts", _asked_columns),
    "side_scores": (f"scores by {', '.join(SIDE_SCORES)}", lambda record, material: _scores(record, True)),
    "scores": ("scores by other criteria", lambda record, material: _scores(record, False)),
    "thumbs": ("thumbs", _thumbs),
    "pairs": ("decided pairs", _pairs),
    "notes": ("notes of judgments", _notes),
    "answers": ("answers by scores or thumbs, written as ranks or pairs", _answers),
}
"""Name of a part → (its name in the manifest, function that yields a record's keys of such parts)."""
EVERYTHING = frozenset(PARTS)


def count_left_out(export: Export, records: Sequence[Record], material: Material) -> None:
    """Count in `material.left_out` the parts of the records that the format does not keep."""
    keeps = set(export.keeps) | (set() if material.settings.strict else set(export.beside))
    for name, (words, parts) in PARTS.items():
        if name not in keeps:
            present = {key for record in records for key in parts(record, material)}
            material.leave_out(words, sum(key[-1] not in export.columns for key in present))


def _completions(record: Record, material: Material) -> list[Completion]:
    if isinstance(record, Completion):
        return [record]
    return [] if isinstance(record, Prompt) else [material.completions[each] for each in record.completion_ids]
