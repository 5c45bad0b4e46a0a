"""Exports one row per judged completion: labels from thumbs or scores (KTO), or scores by criterion."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.records import Completion, Preference
from preflab.store.exports.base import Export, Material, Row
from preflab.store.exports.decided_pairs import origin
from preflab.store.exports.trainer_texts import asked_for, template_of, write_completion
from preflab.store.exports.trainers import one_form
from preflab.store.formats.answered import FINISH_REASON
from preflab.store.formats.rated import MODEL, NAME, PREFIX

UNDECIDED, NO_VERDICT = "completions neither good nor bad", "completions without thumbs and scores"
NO_SCORE = "completions without a score"
ROUNDED = "shares of thumbs written as a label"
SCORES_AS_LABEL = "scores written as a label"
OWN_NAME = "score"
"""The criterion whose column has no prefix."""


def _unpaired(preference: Preference, material: Material) -> Iterator[Row]:
    for index, completion_id in enumerate(preference.completion_ids):
        good = _is_good(preference, index, material)
        if good is not None:
            verdict = {"label": good, **_scores_beside(preference, index, material)}
            yield from _row(preference, material.completions[completion_id], verdict, MODEL, material)


def _scores_beside(preference: Preference, index: int, material: Material) -> Row:
    """The columns with scores, if the label comes from thumbs; if it comes from the scores, {} and they are counted."""
    if material.settings.strict:
        return {}
    has_thumb = bool(preference.thumbs) and preference.thumbs[index] is not None
    scores = {name: row[index] for name, row in sorted(preference.scores.items()) if row[index] is not None}
    if not has_thumb:
        material.change(SCORES_AS_LABEL, len(scores))
        return {}
    return {_column(name): score for name, score in scores.items()}


def _is_good(preference: Preference, index: int, material: Material) -> bool | None:
    """The majority of thumbs; without thumbs, the mean score against the thresholds; None (dropped) if undecided."""
    settings = material.settings
    share = preference.thumbs[index] if preference.thumbs else None
    if share is not None:
        verdict = None if share == 0.5 else share > 0.5
        material.change(ROUNDED, share not in (0, 0.5, 1))
    else:
        names = [settings.criterion] if settings.criterion else list(preference.scores)
        all_scores = [preference.scores[name][index] for name in names if name in preference.scores]
        scores = [score for score in all_scores if score is not None]
        if not scores:
            material.drop(NO_VERDICT)
            return None
        mean = sum(scores) / len(scores)
        verdict = mean >= settings.good_from if not settings.bad_to < mean < settings.good_from else None
    if verdict is None:
        material.drop(UNDECIDED)
    return verdict


def _ratings(preference: Preference, material: Material) -> Iterator[Row]:
    """One row per completion: `score` for the criterion of that name, `score_<criterion>` for every other one."""
    names = sorted(preference.scores)
    for index, completion_id in enumerate(preference.completion_ids):
        scores = {_column(name): preference.scores[name][index] for name in names}
        if all(score is None for score in scores.values()):
            material.drop(NO_SCORE)
            continue
        yield from _row(preference, material.completions[completion_id], scores, NAME, material)


def _column(criterion: str) -> str:
    return criterion if criterion == OWN_NAME else f"{PREFIX}{criterion}"


def _row(
    preference: Preference, completion: Completion, verdict: Row, default_model: str, material: Material
) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    turns = write_completion(prompt, completion, material)
    if turns is None:
        return
    row: Row = {"prompt": asked_for(prompt), "completion": turns, **verdict, **template_of(prompt)}
    yield (
        row
        if material.settings.strict
        else row | _model_and_end(completion, default_model) | origin(preference, completion, material)
    )


def _model_and_end(completion: Completion, default_model: str) -> Row:
    """The completion's model and finish reason, if they differ from the defaults of an import."""
    model = {"model": completion.model} if completion.model != default_model else {}
    ended = {FINISH_REASON: completion.finish_reason} if completion.finish_reason != "imported" else {}
    return model | ended


EXPORTS = (
    Export(
        "trl-unpaired",
        "prompt, completion, label (KTO) from thumbs or scores",
        "preference",
        _unpaired,
        one_form,
        keeps=frozenset({"thumbs"}),
        beside=frozenset({"models", "finish_reason", "scores", "side_scores"}),
    ),
    Export(
        "ratings",
        "prompt, completion, score, score_<criterion>: one row per completion",
        "preference",
        _ratings,
        keeps=frozenset({"scores", "side_scores"}),
        beside=frozenset({"models", "finish_reason"}),
    ),
)
