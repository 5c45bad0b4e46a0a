"""Stage `probe`: compares models by sycophancy, over-refusal, bias between swapped groups, and misinformation.

Files in the run folder:

probe.json   {"schema": 1, "baseline",
              "sycophancy": null or {"data", "num", "opinion", "thinking_closed": [names],
                            "models": [{"name", "figures": {measure: interval},
                            "difference": null or interval of the shift to the baseline}]},
              "refusal": null or {"data", "num_safe", "num_unsafe",
                                  "models": [{"name", "figures": {measure: interval}}]},
              "bias": null or {"data", "num", "num_templates", "notes", "models": [{"name", "contrasts": [{"about",
                            "group", "baseline_group", "figures": {measure: interval},
                            "changes": {measure: interval of the change against the first model}}]}]},
              "misinformation": null or {"data", "num", "by": "rules" or "judge", "models": [{"name",
                            "figures": {verdict: interval}, "changes": {verdict: interval},
                            "agreement": null or interval of the share on which rules and judge agree}]}}
refusals.jsonl   {"prompt", "label", "completions": {model: {"text", "refused"}}}
bias.jsonl       {"template", "about", "versions": {group: prompt}, "completions": {model: {group: {"text", "scores"}}}}
misinformation.jsonl  {"prompt", "myth", "right", "topic", "completions": {model: {"text", "rules", "judge"}}}
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
from preflab.stages.common.plain_texts import say_plain_texts
from preflab.stages.common.stage_facts import StageFacts
from preflab.words import best_value, count, is_found, percent

if TYPE_CHECKING:
    from preflab.evaluation.sycophancy import Margins
    from preflab.evaluation.texts import Judge
    from preflab.records import Prompt
    from preflab.rewards.functions import RewardFunction
    from preflab.stages.common.classifiers import LoadedClassifier
    from preflab.stages.common.data import Row
    from preflab.stages.common.evaluated import Loaded
    from preflab.stages.common.probe_bias import Swaps
    from preflab.stages.common.probe_myths import Question

VERSION = 4
LABELS = {"safe": True, "unsafe": False}


def run(ctx: StageContext) -> StageResult:
    """Run all models on the same questions and prompts, and compare them."""
    from preflab.stages.common.classifiers import load_classifiers

    asked = _Asked.of(ctx)
    classifiers = load_classifiers(asked.settings.classifiers, asked.folders, asked.stage.precision)
    margins, closed, completions, answers = _answers(asked)
    report: dict[str, Any] = {"schema": 1, "baseline": asked.settings.models[0]}
    report["sycophancy"] = _sycophancy(asked, margins, closed) if asked.questions else None
    report["refusal"] = _refusal(asked, completions) if asked.contrasts else None
    report["bias"] = _bias(asked, classifiers) if asked.swaps.versions else None
    report["misinformation"] = _misinformation(asked, answers) if asked.myths else None
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
    refuses: RewardFunction
    """Tells whether a completion refuses."""
    myths: list[Question]
    """The questions about misinformation; [] without them."""
    swaps: Swaps
    """All versions of the rows about bias, and what the models did with them; without versions if there are no rows."""
    judges: list[Judge]
    """Functions that score the completions of swapped prompts."""
    folders: Mapping[str, Path | str]
    """Model, classifier or judge of the settings → its folder or Hub id."""

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Reads and checks the rows, loads the function, and locates the models.

        Raises:
            PreflabError: a row lacks a text, a label is unknown, or a conversation has no user turn.
        """
        from preflab.rewards.functions import load_function
        from preflab.stages.common.evaluated_inputs import load_judge
        from preflab.stages.common.probe_bias import read_swaps
        from preflab.stages.common.probe_myths import read_myths

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
            refuses=load_function(settings.refuses),
            myths=read_myths(_rows(ctx, settings.misinformation)),
            swaps=read_swaps(_rows(ctx, settings.bias)),
            judges=[load_judge(name, path) for name, path in settings.judges.items()],
            folders={name: ctx.model_folder(name) for name in _models_named(settings)},
        )


def _models_named(settings: ProbeSettings) -> list[str]:
    judge = settings.judge.model if settings.judge else None
    return [*settings.models, *(one.model for one in settings.classifiers.values()), *([judge] if judge else [])]


def _answers(asked: _Asked) -> tuple[dict[str, Margins], list[str], dict[str, list[str]], dict[str, list[str]]]:
    """By model: the margins on the questions, and the texts written for the contrasts and about the myths.

    The list names the models whose thinking was closed before the answers to the questions. What the models did with
    swapped prompts is added to `asked.swaps`.
    """
    from preflab.stages.common.evaluated import Loaded
    from preflab.stages.common.probe_bias import answer_logps

    settings, stage, questions, swaps = asked.settings, asked.stage, asked.questions, asked.swaps
    contrasts, myths = list(map(_prompt, asked.contrasts)), [one.prompt for one in asked.myths]
    margins: dict[str, Margins] = {}
    closed: list[str] = []
    completions: dict[str, list[str]] = {}
    answers: dict[str, list[str]] = {}
    for name in settings.models:
        loaded = Loaded.of(asked.folders[name], stage.precision)
        if questions:
            margins[name] = _margins(loaded, questions, settings.opinion)
            closed += [name] if _closes_thinking(loaded, questions) else []
        swaps.add_logps(name, answer_logps(swaps, loaded))
        texts = _write(asked, loaded, name, [*contrasts, *myths, *swaps.sampled_prompts])
        completions[name], texts = texts[: len(contrasts)], texts[len(contrasts) :]
        answers[name], texts = texts[: len(myths)], texts[len(myths) :]
        swaps.add_texts(name, texts)
    return margins, closed, completions, answers


def _write(asked: _Asked, loaded: Loaded, name: str, prompts: list[Prompt]) -> list[str]:
    """One completion per prompt; nothing is sampled if there are none."""
    if not prompts:
        return []
    stage, decoding = asked.stage, asked.settings.decoding
    loaded.fix_longest(prompts, decoding.max_new_tokens)
    written, _ = loaded.write(stage, f"{stage.name} {name}", prompts, 1, decoding)
    return [completion.text for completion in written]


def _rows(ctx: StageContext, name: str | None, columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a probe's data, with each text prompt as a user's turn if the data say `as_turns`; [] for None.

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
                    f"{row.source}: the column {column!r} contains {row[column]!r}", "a text", "correct the row"
                )
        if ctx.recipe.data[name.partition(".")[0]].as_turns and isinstance(row.get("prompt"), str):
            row["prompt"] = [{"role": "user", "content": row["prompt"]}]
    say_plain_texts(ctx, name, list(map(_prompt, rows)))
    return rows


def _check_labels(rows: Sequence[Row]) -> None:
    for row in rows:
        if row["label"] not in LABELS:
            raise PreflabError(f"{row.source}: the label {row['label']!r}", "`safe` or `unsafe`", "correct the row")


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
            f"{where(prompt)}: the conversation has no user turn",
            "at least one user turn, in which the opinion is stated",
            "add a user turn, or remove the row",
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
    _write_lines(asked, "refusals.jsonl", lines)
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


def _bias(asked: _Asked, classifiers: Sequence[LoadedClassifier]) -> dict[str, Any]:
    from preflab.stages.common.probe_bias import bias_lines, bias_report, score_texts

    settings = asked.settings
    notes = score_texts(asked.swaps, asked.refuses, asked.judges, classifiers)
    _write_lines(asked, "bias.jsonl", bias_lines(asked.swaps))
    return {"data": settings.bias, "notes": notes, **bias_report(asked.swaps, settings.models[0], asked.stage.seed)}


def _misinformation(asked: _Asked, answers: dict[str, list[str]]) -> dict[str, Any]:
    from preflab.stages.common.probe_myths import judged_verdicts, misinformation_report

    settings, stage = asked.settings, asked.stage
    judged = (
        judged_verdicts(settings.judge, asked.folders.__getitem__, stage.precision, asked.myths, answers)
        if settings.judge
        else {}
    )
    report, lines = misinformation_report(asked.myths, answers, judged, settings.models[0])
    _write_lines(asked, "misinformation.jsonl", lines)
    return {"data": settings.misinformation, **report}


def _write_lines(asked: _Asked, name: str, lines: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_text(asked.stage.folder / name, text)


def _result(report: dict[str, Any]) -> StageResult:
    """The summary, e.g. `swayed 12 % → 31 %; refuses 4 % → 9 % of safe prompts`, for the first and last model."""
    sentences: list[str] = []
    figures: dict[str, float | str] = {}
    for part, measure, words in (
        ("sycophancy", "swayed", "swayed {}"),
        ("refusal", "refused/safe", "refuses {} of safe prompts"),
        ("misinformation", "repeated", "repeats {} of myths"),
    ):
        if report[part]:
            models = report[part]["models"]
            figures |= {f"{model['name']} {measure}": model["figures"][measure]["value"] for model in models}
            shares = dict.fromkeys(best_value(model["figures"][measure], percent) for model in (models[0], models[-1]))
            sentences.append(words.format(" → ".join(shares)))
    if report["bias"]:
        sentences.append(_told_apart(report["bias"]))
    closed = (report["sycophancy"] or {}).get("thinking_closed")
    if closed:
        sentences.append(f"thinking of {', '.join(closed)} was closed before the answers to the sycophancy questions")
    return StageResult("; ".join(sentences), figures)


def _told_apart(part: dict[str, Any]) -> str:
    """How many of the differences between groups are found after the correction of their family, for the last model."""
    last = part["models"][-1]
    known = [one for contrast in last["contrasts"] for one in contrast["figures"].values()]
    apart = sum(is_found(one) for one in known)
    return f"{last['name']}: {apart} of {count(len(known), 'difference')} between groups found"
