"""What a file was read as, in a few words that a test can spell out by hand."""

from __future__ import annotations

from typing import Any

from preflab.records import Preference
from preflab.store.formats.imported import Imported


def groups(found: Imported) -> list[dict[str, Any]]:
    """Every group by its texts: prompt, ranks, and whatever else it holds (pairs as winner → loser: weight)."""
    prompts = {p.id: p.shown for p in found.prompts}
    texts = {c.id: c.text for c in found.completions}
    return [{"prompt": prompts[group.prompt_id], **_group(group, texts)} for group in found.preferences]


def _group(group: Preference, texts: dict[str, str]) -> dict[str, Any]:
    names = [texts[each] for each in group.completion_ids]
    said: dict[str, Any] = {"ranks": dict(zip(names, group.ranks, strict=True))}
    pairs = {(names[i], names[j]): round(weight, 4) for i, j, weight in group.chosen_rejected()}
    ties = [{names[p.first], names[p.second]} for p in group.pairs if p.num_tie > p.num_for + p.num_against]
    scores = {criterion: dict(zip(names, row, strict=True)) for criterion, row in group.scores.items()}
    thumbs = dict(zip(names, group.thumbs, strict=True)) if group.thumbs else {}
    parts = {"pairs": pairs, "ties": ties, "scores": scores, "thumbs": thumbs}
    return said | {name: part for name, part in parts.items() if part}


def demonstrations(found: Imported) -> list[tuple[str, str]]:
    """(prompt, completion) of every example, as often as it stands there."""
    prompts = {p.id: p.shown for p in found.prompts}
    completions = {c.id: c for c in found.completions}
    return [(prompts[completions[i].prompt_id], completions[i].text) for i in found.demonstrations]
