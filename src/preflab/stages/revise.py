"""Stage `revise`: a model answers red-team prompts, then criticises and revises its answers by principles (R18).

For each revision a principle of the constitution is drawn at random, and every text is kept. Files in the run folder:

revisions.jsonl       {"prompt", "prompt_id", "answer", "finish_reason", "steps": [{"principle", "critique", "revision",
                      "finish_reason"}]} per prompt; `finish_reason` is that of the answer or revision
completions.json      ids of the last revisions, in the order of the prompts
demonstrations.jsonl  the last revisions as rows of `prompt`, `completion` and `finish_reason`, for stage `sft`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.settings.constitution import ReviseSettings
from preflab.settings.sampling import DecodingSettings, SampleSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.demonstrations import demonstration_lines
from preflab.stages.sample import SamplingAsked
from preflab.words import count

if TYPE_CHECKING:
    from preflab.constitution.principles import Constitution
    from preflab.constitution.revising import Revised, Step
    from preflab.records import Completion
    from preflab.store.workspace import Workspace

VERSION = 3

REVISIONS, DEMONSTRATIONS = "revisions.jsonl", "demonstrations.jsonl"
PROMPTS_AT_ONCE = 256
"""Number of prompts that go through all rounds together before their rows are stored."""


def run(ctx: StageContext) -> StageResult:
    """Answer, criticise and revise for prompts without a stored row, then list the last revisions."""
    from preflab.files import read_jsonl

    asked, constitution = SamplingAsked.of(ctx), constitution_of(ctx.recipe, ctx.settings.constitution)
    done = {row["prompt_id"]: row for row in read_jsonl(asked.stage.folder / REVISIONS)}
    model_id = _revise(asked, constitution, done)
    rows = [done[prompt.id] for prompt in asked.prompts]
    _leave(asked, rows, model_id, ctx.workspace)
    return _result(rows, constitution)


def _revise(asked: SamplingAsked, constitution: Constitution, done: dict[str, dict[str, Any]]) -> str:
    """Revise for the prompts without a row in `done` and add their rows; returns the model's id."""
    from preflab.constitution.revising import revise
    from preflab.files import append_jsonl
    from preflab.progress import progress
    from preflab.stages.common.critique_model import writing

    settings, stage, num = asked.settings, asked.stage, len(asked.prompts)
    missing = [prompt for prompt in asked.prompts if prompt.id not in done]
    writer = asked.open_writer(_one_each(settings))
    per_prompt = 1 + 2 * settings.num_rounds
    with progress(stage.name, num * per_prompt, (num - len(missing)) * per_prompt) as bar:
        for start in range(0, len(missing), PROMPTS_AT_ONCE):
            part = missing[start : start + PROMPTS_AT_ONCE]
            for one in revise(
                constitution,
                part,
                writing(writer, stage.seed, bar.advance),
                num_rounds=settings.num_rounds,
                num_examples=settings.num_examples,
                seed=stage.seed,
            ):
                done[one.prompt.id] = _row(one)
                append_jsonl(stage.folder / REVISIONS, done[one.prompt.id])
    writer.engine.release()
    return writer.model_id


def check(recipe: Recipe, settings: ReviseSettings) -> None:
    """Reads the constitution before anything runs.

    Raises:
        PreflabError: the constitution cannot be read, has an empty principle or fewer than `num_examples` examples.
    """
    constitution = constitution_of(recipe, settings.constitution)
    if settings.num_examples > len(constitution.examples):
        raise PreflabError(
            f"num_examples is {settings.num_examples}, and the constitution has "
            f"{count(len(constitution.examples), 'example')}",
            f"num_examples of at most {len(constitution.examples)}",
            "add examples to the constitution, or lower num_examples",
        )


def constitution_of(recipe: Recipe, path: str | None) -> Constitution:
    """The constitution in the file that a setting names; preflab's own if `path` is None."""
    from preflab.constitution.principles import read_constitution

    return read_constitution(recipe.resolve(path) if path else None)


def _one_each(settings: ReviseSettings) -> SampleSettings:
    """The settings of a writer of one completion per prompt."""
    decoding = {name: getattr(settings, name) for name in DecodingSettings.model_fields}
    return SampleSettings(model=settings.model, prompts=settings.prompts, num_completions=1, **decoding)


def _row(one: Revised) -> dict[str, Any]:
    return {
        "prompt_id": one.prompt.id,
        "prompt": one.prompt.shown,
        "answer": one.answer,
        "finish_reason": one.finish_reason,
        "steps": [_step(step) for step in one.steps],
    }


def _step(step: Step) -> dict[str, str]:
    return asdict(step)


def _leave(asked: SamplingAsked, rows: Sequence[dict[str, Any]], model_id: str, workspace: Workspace) -> None:
    """Store every answer and revision as a completion, list the last revisions, and write the demonstrations.

    Empty revisions are listed but left out of the demonstrations.

    Raises:
        PreflabError: every last revision is empty.
    """
    from preflab.files import write_json, write_text
    from preflab.records import Completion

    stage, prompts = asked.stage, asked.prompts
    completions: list[Completion] = []
    last: list[Completion] = []
    for prompt, row in zip(prompts, rows, strict=True):
        texts = [(row["answer"], row["finish_reason"]), *((s["revision"], s["finish_reason"]) for s in row["steps"])]
        completions += [
            Completion.make(
                prompt.id, text, model_id, stage.seed, n, finish_reason=ended,
                columns={"of": f"revision {n}" if n else "answer"},
            )
            for n, (text, ended) in enumerate(texts)
        ]  # fmt: skip
        last.append(completions[-1])
    workspace.put([*prompts, *completions])
    write_json(stage.folder / "completions.json", [completion.id for completion in last])
    lines = demonstration_lines(pair for pair in zip(prompts, last, strict=True) if pair[1].text.strip())
    if not lines:
        raise PreflabError(
            f"stage {stage.name}: every revision is empty",
            "at least one revision with text",
            "read revisions.jsonl; then raise num_examples or max_new_tokens, or use a more capable model",
        )
    write_text(stage.folder / DEMONSTRATIONS, lines)


def _result(rows: Sequence[dict[str, Any]], constitution: Constitution) -> StageResult:
    changed = sum(row["steps"][-1]["revision"].strip() != row["answer"].strip() for row in rows)
    empty = sum(not row["steps"][-1]["revision"].strip() for row in rows)
    drawn = Counter(step["principle"] for row in rows for step in row["steps"])
    figures: dict[str, float | str] = {"num_prompts": len(rows), "num_changed": changed, "num_empty": empty}
    figures |= {f"drawn/{principle.name}": drawn[principle.name] for principle in constitution.principles}
    summary = f"{changed:,} of {count(len(rows), 'answer')} revised by {count(len(drawn), 'principle')}"
    return StageResult(summary + (f", {count(empty, 'revision')} empty" if empty else ""), figures)
