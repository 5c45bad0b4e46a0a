"""The bias part of the stage `probe`: rows with a swapped name or group → prompts → differences between groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from preflab.errors import PreflabError
from preflab.evaluation.bias import Contrast, Version, bias, bias_change, contrasts
from preflab.evaluation.corrected_verdicts import as_family
from preflab.evaluation.diversity import words
from preflab.evaluation.likelihood import completion_logps
from preflab.evaluation.texts import Judge
from preflab.records import Prompt
from preflab.report.measures import is_share
from preflab.rewards.functions import RewardFunction
from preflab.stages.common.classifiers import LoadedClassifier
from preflab.stages.common.data import Row, prompt_of
from preflab.stages.common.evaluated import Loaded
from preflab.stages.common.row_lengths import fix_row_lengths
from preflab.training.batches import TokenSequence

PLACE = "{group}"
LIKELIHOOD = "logp"
"""Measure of rows with an `answer`: log-probability of the answer, nats."""


@dataclass
class Swaps:
    """All versions of the rows; values are aligned with `versions`, nan where a measure does not apply."""

    versions: list[Version] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Model → measure → a value per version."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    """Model → its completion per version; "" for versions with an answer."""

    @property
    def sampled(self) -> list[int]:
        """The places of the versions that are answered by sampling."""
        return [place for place, answer in enumerate(self.answers) if answer is None]

    @property
    def sampled_prompts(self) -> list[Prompt]:
        """The prompts of those versions."""
        return [self.prompts[place] for place in self.sampled]

    def add_logps(self, model: str, logps: list[float]) -> None:
        """Adds a model's log-probabilities of the answers."""
        self.values[model] = {LIKELIHOOD: logps}

    def add_texts(self, model: str, texts: Sequence[str]) -> None:
        """Adds a model's completions of the sampled versions."""
        by_place = dict(zip(self.sampled, texts, strict=True))
        self.texts[model] = [by_place.get(place, "") for place in range(len(self.prompts))]

    def spread_out(self, values: Sequence[float]) -> list[float]:
        """Values of the sampled versions as values of all versions, nan for the others."""
        by_place = dict(zip(self.sampled, map(float, values), strict=True))
        return [by_place.get(place, math.nan) for place in range(len(self.prompts))]


def read_swaps(rows: Sequence[Row]) -> Swaps:
    """Every version of every row as a prompt.

    Raises:
        PreflabError: a row has no {group}, no kind in `about`, or fewer than two versions; names the line.
    """
    swaps = Swaps()
    for number, row in enumerate(rows):
        versions = _checked_versions(row)
        plain = prompt_of(row, without=("versions", "about", "answer"))
        if PLACE not in plain.shown:
            raise PreflabError(
                f"{row.source}: no {PLACE} in the prompt", f"{PLACE} where the group's words go", "add it"
            )
        for group, phrase in versions.items():
            swaps.versions.append(Version(number, plain.shown, row["about"], group))
            swaps.prompts.append(_put(plain, phrase))
            swaps.answers.append(row.get("answer"))
    return swaps


def _checked_versions(row: Row) -> dict[str, str]:
    versions, about, answer = row.column("versions"), row.column("about"), row.get("answer")
    if not isinstance(about, str) or not about.strip():
        raise PreflabError(
            f"{row.source}: the column 'about' holds {about!r}", "what is swapped, such as gender", "add it"
        )
    known = isinstance(versions, dict) and len(versions) > 1
    if not known or not all(isinstance(phrase, str) and phrase.strip() for phrase in versions.values()):
        raise PreflabError(
            f"{row.source}: the column 'versions' holds {versions!r}",
            'at least two groups, each with its words: {"man": "James", "woman": "Mary"}',
            "mend the row",
        )
    if answer is not None and (not isinstance(answer, str) or not answer.strip()):
        raise PreflabError(
            f"{row.source}: the column 'answer' holds {answer!r}", "a text, or no column", "mend the row"
        )
    return {str(group): phrase for group, phrase in versions.items()}


def _put(prompt: Prompt, phrase: str) -> Prompt:
    """The prompt with the group's words in place of {group}."""
    turns = tuple(replace(turn, content=turn.content.replace(PLACE, phrase)) for turn in prompt.messages)
    return Prompt.make(prompt.text.replace(PLACE, phrase), turns, prompt.columns, prompt.source)


def answer_logps(swaps: Swaps, loaded: Loaded) -> list[float]:
    """The log-probability of each version's answer, nats; nan for versions that are sampled."""
    renderer, nan = loaded.opened.renderer(), float("nan")
    asked = [
        (place, TokenSequence(renderer.prompt_ids(prompt), renderer.answer_ids(prompt, answer)))
        for place, (prompt, answer) in enumerate(zip(swaps.prompts, swaps.answers, strict=True))
        if answer is not None
    ]
    values = [nan] * len(swaps.prompts)
    if asked:
        trunk = loaded.opened.trunk(("policy",))
        fix_row_lengths(trunk.row_lengths, [sequence for _, sequence in asked])
        logps = completion_logps(trunk, [sequence for _, sequence in asked])
        for (place, _), logp in zip(asked, logps, strict=True):
            values[place] = float(logp)
    return values


def score_texts(
    swaps: Swaps, refuses: RewardFunction, judges: Sequence[Judge], classifiers: Sequence[LoadedClassifier]
) -> list[str]:
    """Adds the measures of every model's completions to `swaps.values`; returns notes for the reader."""
    prompts = swaps.sampled_prompts
    notes: list[str] = []
    for name, completed in swaps.texts.items():
        texts = [completed[place] for place in swaps.sampled]
        columns: dict[str, Sequence[float]] = {
            f"probability/{one.name}": list(one.probabilities(prompts, texts)) for one in classifiers
        }
        columns |= {f"judge/{judge.name}": list(judge.column(judge.scores(prompts, texts))) for judge in judges}
        columns["refused"] = refuses([prompt.shown for prompt in prompts], texts)
        columns["length/words"] = [float(len(words(text))) for text in texts]
        swaps.values[name] |= {measure: swaps.spread_out(column) for measure, column in columns.items()}
        notes += [note for one in classifiers for note in one.note(name, texts)]
    return notes


def bias_report(swaps: Swaps, baseline: str, seed: int) -> dict[str, Any]:
    """The part `bias` of probe.json, without its data and notes; changes are against the model `baseline`."""
    compared = contrasts(swaps.versions)
    return {
        "num": len({one.row for one in swaps.versions}),
        "num_templates": len({one.template for one in swaps.versions}),
        "models": [
            {
                "name": name,
                "contrasts": _contrasts(compared, values, None if name == baseline else swaps.values[baseline], seed),
            }
            for name, values in swaps.values.items()
        ],
    }


def _contrasts(
    compared: Sequence[Contrast], values: dict[str, list[float]], before: dict[str, list[float]] | None, seed: int
) -> list[dict[str, Any]]:
    """Each contrast's figures of one model, and their changes against the baseline's values `before`.

    All figures of a model are one family of comparisons, and all changes are another.
    """
    known = [
        (place, measure, bias(compared[place], column, seed, share=is_share(measure)))
        for place in range(len(compared))
        for measure, column in values.items()
    ]
    figures = {(place, measure): interval for place, measure, interval in known if interval.num}
    changes = (
        {
            (place, measure): bias_change(compared[place], before[measure], values[measure], seed)
            for place, measure in figures
        }
        if before
        else {}
    )
    parts = as_family(figures), as_family(changes)
    return [
        {
            "about": one.about,
            "group": one.second,
            "baseline_group": one.first,
            "figures": {measure: figure for (at, measure), figure in parts[0].items() if at == place},
            "changes": {measure: figure for (at, measure), figure in parts[1].items() if at == place},
        }
        for place, one in enumerate(compared)
    ]


def bias_lines(swaps: Swaps) -> list[dict[str, Any]]:
    """The lines of bias.jsonl: every sampled row with its versions and their completions."""
    lines: dict[int, dict[str, Any]] = {}
    for place in swaps.sampled:
        version = swaps.versions[place]
        line = lines.setdefault(
            version.row,
            {"template": version.template, "about": version.about, "versions": {},
             "completions": {name: {} for name in swaps.texts}},
        )  # fmt: skip
        line["versions"][version.group] = swaps.prompts[place].shown
        for name, texts in swaps.texts.items():
            columns = {measure: column for measure, column in swaps.values[name].items() if measure != LIKELIHOOD}
            scores = {m: None if math.isnan(column[place]) else column[place] for m, column in columns.items()}
            line["completions"][name][version.group] = {"text": texts[place], "scores": scores}
    return list(lines.values())
