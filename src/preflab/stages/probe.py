"""Stage `probe`: compares models by sycophancy (from likelihoods) and by over-refusal on contrast prompts.

Files in the run folder:

probe.json   {"schema": 1, "baseline",
              "sycophancy": null or {"data", "num", "opinion", "thinking_closed": [names],
                            "models": [{"name", "figures": {measure: interval},
                            "difference": null or interval of the shift to the baseline}]},
              "refusal": null or {"data", "num_safe", "num_unsafe",
                                  "models": [{"name", "figures": {measure: interval}}]}}
refusals.jsonl   {"prompt", "label", "completions": {model: {"text", "refused"}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.files import write_json, write_text
from preflab.settings.probe import ProbeSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.plain_texts import WRITTEN_AS_TURNS, say_plain_texts
from preflab.stages.common.stage_facts import StageFacts
from preflab.words import best_value, percent

if TYPE_CHECKING:
    from preflab.evaluation.sycophancy import Margins
    from preflab.records import Prompt
    from preflab.rewards.functions import RewardFunction
    from preflab.stages.common.data import Row
    from preflab.stages.common.evaluated import Loaded

VERSION = 3
LABELS = {"safe": True, "unsafe": False}


def run(ctx: StageContext) -> StageResult:
    """Run all models on the same questions and contrast prompts, and compare them."""
    asked = _Asked.of(ctx)
    margins, closed, completions = _answers(asked)
    report: dict[str, Any] = {"schema": 1, "baseline": asked.settings.models[0]}
    report["sycophancy"] = _sycophancy(asked, margins, closed) if asked.questions else None
    report["refusal"] = _refusal(asked, completions) if asked.contrasts else None
    write_json(asked.stage.folder / "probe.json", report)
    return _result(report)


@dataclass(frozen=True)
class _Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: ProbeSettings
    stage: StageFacts
    questions: list[Row]
    """The rows about sycophancy; [] without them."""
    contrasts: list[Row]
    """The rows about over-refusal; [] without them."""
    refuses: RewardFunction | None
    """Tells whether a completion refuses; None without contrasts."""
    folders: Mapping[str, Path | str]
    """Model of the settings → its folder or Hub id."""

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Reads and checks the rows, loads the function, and locates the models.

        Raises:
            PreflabError: a row lacks a text, a label is unknown, or a conversation has no user turn.
        """
        from preflab.rewards.functions import load_function

        settings: ProbeSettings = ctx.settings
        questions = _rows(ctx, settings.sycophancy, ("right", "wrong"))
        contrasts = _rows(ctx, settings.refusal, ("label",))
        _check_labels(contrasts)
        for row in questions:
            told(_prompt(row), settings.opinion, row["wrong"])
        return cls(
            settings=settings,
            stage=StageFacts.of(ctx),
            questions=questions,
            contrasts=contrasts,
            refuses=load_function(settings.refuses) if contrasts else None,
            folders={name: ctx.model_folder(name) for name in settings.models},
        )


def _answers(asked: _Asked) -> tuple[dict[str, Margins], list[str], dict[str, list[str]]]:
    """By model: the margins on the questions, and the texts written for the contrasts.

    The list names the models whose thinking was closed before the answers to the questions.
    """
    from preflab.stages.common.evaluated import Loaded

    settings, stage, questions = asked.settings, asked.stage, asked.questions
    margins: dict[str, Margins] = {}
    closed: list[str] = []
    completions: dict[str, list[str]] = {}
    for name in settings.models:
        loaded = Loaded.of(asked.folders[name], stage.precision)
        if questions:
            margins[name] = _margins(loaded, questions, settings.opinion)
            closed += [name] if _closes_thinking(loaded, questions) else []
        if asked.contrasts:
            prompts = [_prompt(row) for row in asked.contrasts]
            loaded.fix_longest(prompts, settings.decoding.max_new_tokens)
            written, _ = loaded.write(stage, f"{stage.name} {name}", prompts, 1, settings.decoding)
            completions[name] = [completion.text for completion in written]
    return margins, closed, completions


def _rows(ctx: StageContext, name: str | None, columns: Sequence[str]) -> list[Row]:
    """The rows of a probe's data; [] if `name` is None.

    Raises:
        PreflabError: one of `columns` is missing or not a non-empty text; names the line.
    """
    if name is None:
        return []
    rows = ctx.data(name)[: ctx.settings.max_prompts]
    for row in rows:
        for column in columns:
            if not isinstance(row.column(column), str) or not row[column].strip():
                raise PreflabError(
                    f"{row.source}: the column {column!r} holds {row[column]!r}", "a text", "mend the row"
                )
    say_plain_texts(ctx, name, list(map(_prompt, rows)), cure=WRITTEN_AS_TURNS)
    return rows


def _check_labels(rows: Sequence[Row]) -> None:
    for row in rows:
        if row["label"] not in LABELS:
            raise PreflabError(f"{row.source}: the label {row['label']!r}", "`safe` or `unsafe`", "mend the row")


def _prompt(row: Row) -> Prompt:
    from preflab.stages.common.data import prompt_of

    return prompt_of(row, without=("right", "wrong", "label"))


def told(prompt: Prompt, opinion: str, wrong: str) -> Prompt:
    """The prompt rewritten as by a user who believes the wrong answer.

    The template `opinion` is applied to the text, or to the last user turn of a conversation.

    Raises:
        PreflabError: the conversation has no user turn.
    """
    from dataclasses import replace

    from preflab.conversations.template import where
    from preflab.records import Prompt as PromptRecord

    def put(text: str) -> str:
        return opinion.replace("{prompt}", text).replace("{wrong}", wrong)

    if not prompt.messages:
        return PromptRecord.make(put(prompt.text), columns=prompt.columns, source=prompt.source)
    turns = list(prompt.messages)
    place = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=None)
    if place is None:
        raise PreflabError(
            f"{where(prompt)}: no turn of the user, whose opinion is asked about",
            "a conversation in which the user says something",
            "add the user's turn, or leave the row out",
        )
    turns[place] = replace(turns[place], content=put(turns[place].content))
    return PromptRecord.make(messages=tuple(turns), columns=prompt.columns, source=prompt.source)


def _margins(loaded: Loaded, rows: Sequence[Row], opinion: str) -> Margins:
    """Log-probabilities, in nats, of each question's right and wrong answer, without and with the opinion."""
    from preflab.evaluation.likelihood import completion_logps
    from preflab.evaluation.sycophancy import Margins
    from preflab.stages.common.row_lengths import fix_row_lengths
    from preflab.training.batches import TokenSequence

    renderer = loaded.opened.renderer()
    columns: list[list[TokenSequence]] = [[], [], [], []]
    for row in rows:
        plain = _prompt(row)
        asked = (plain, told(plain, opinion, row["wrong"]))
        pairs = [(prompt, row[name]) for prompt in asked for name in ("right", "wrong")]
        for column, (prompt, answer) in zip(columns, pairs, strict=True):
            ids = renderer.answer_ids(prompt, answer)
            column.append(TokenSequence(renderer.prompt_ids(prompt), ids))
    trunk = loaded.opened.trunk(("policy",))
    sequences = [sequence for column in columns for sequence in column]
    fix_row_lengths(trunk.row_lengths, sequences)
    logps = completion_logps(trunk, sequences)
    num = len(rows)
    return Margins.of(*(logps[i * num : (i + 1) * num] for i in range(4)))


def _closes_thinking(loaded: Loaded, rows: Sequence[Row]) -> bool:
    """Whether the model's chat template opens a thinking block, which is then closed before the compared answers."""
    renderer = loaded.opened.renderer()
    return any(renderer.opens_thinking(_prompt(row)) for row in rows)


def _sycophancy(asked: _Asked, margins: dict[str, Margins], closed: Sequence[str]) -> dict[str, Any]:
    from preflab.evaluation.sycophancy import shift_difference, sycophancy

    settings, seed = asked.settings, asked.stage.seed
    questions = [_prompt(row).id for row in asked.questions]
    baseline = settings.models[0]
    models = []
    for name, margin in margins.items():
        figures = sycophancy(margin, questions, seed)
        difference = None if name == baseline else shift_difference(margins[baseline], margin, questions, seed)
        models.append(
            {
                "name": name,
                "figures": {measure: interval.to_json() for measure, interval in figures.items()},
                "difference": difference.to_json() if difference else None,
            }
        )
    about = {"data": settings.sycophancy, "num": len(questions), "opinion": settings.opinion}
    return {**about, "thinking_closed": list(closed), "models": models}


def _refusal(asked: _Asked, completions: dict[str, list[str]]) -> dict[str, Any]:
    from preflab.evaluation.refusal import refusal_rates

    rows, judge = asked.contrasts, asked.refuses
    assert judge is not None
    prompts, safe = [_prompt(row) for row in rows], [LABELS[row["label"]] for row in rows]
    shown = [prompt.shown for prompt in prompts]
    refused = {name: judge(shown, texts) for name, texts in completions.items()}
    lines = [
        {
            "prompt": text,
            "label": row["label"],
            "completions": {name: {"text": completions[name][i], "refused": refused[name][i]} for name in completions},
        }
        for i, (text, row) in enumerate(zip(shown, rows, strict=True))
    ]
    write_text(
        asked.stage.folder / "refusals.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    )
    ids = [prompt.id for prompt in prompts]
    models = [
        {
            "name": name,
            "figures": {m: interval.to_json() for m, interval in refusal_rates(values, safe, ids).items()},
        }
        for name, values in refused.items()
    ]
    return {
        "data": asked.settings.refusal,
        "num_safe": sum(safe),
        "num_unsafe": len(safe) - sum(safe),
        "models": models,
    }


def _result(report: dict[str, Any]) -> StageResult:
    """The summary, e.g. `swayed 12 % → 31 %; refuses 4 % → 9 % of safe prompts`, for the first and last model."""
    sentences: list[str] = []
    figures: dict[str, float | str] = {}
    for part, measure, words in (
        ("sycophancy", "swayed", "swayed {}"),
        ("refusal", "refused/safe", "refuses {} of safe prompts"),
    ):
        if report[part]:
            models = report[part]["models"]
            figures |= {f"{model['name']} {measure}": model["figures"][measure]["value"] for model in models}
            shares = dict.fromkeys(best_value(model["figures"][measure], percent) for model in (models[0], models[-1]))
            sentences.append(words.format(" → ".join(shares)))
    closed = (report["sycophancy"] or {}).get("thinking_closed")
    if closed:
        sentences.append(f"thinking of {', '.join(closed)} closed before the answers to sycophancy's questions")
    return StageResult("; ".join(sentences), figures)
