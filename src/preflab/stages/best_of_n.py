"""Stage `best_of_n`: samples n completions of every prompt and keeps the one with the highest reward.

Completions are stored as they are written, so that an interruption loses little. Files in the run folder:

completions.json      ids of the kept completions, in the order of the prompts
chosen.jsonl          one row per prompt whose completions are in the workspace: {"prompt_id", "kept": id,
                      "completions": [ids], "rewards": [numbers]}
worth.json            {"schema": 1, "best_of": [{"n", "kl_bound", "reward", "error"}]} for n = 1 … num_completions
demonstrations.jsonl  the kept completions as rows of `prompt`, `completion` and `finish_reason`, for stage `sft`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.demonstrations import demonstration_lines
from preflab.stages.sample import SamplingAsked, Writer, chunks_of
from preflab.words import three_digits

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt
    from preflab.rewards.sources import PolicySide
    from preflab.store.workspace import Workspace
    from preflab.training.protocols import Scorer

VERSION = 3

CHOSEN = "chosen.jsonl"


def run(ctx: StageContext) -> StageResult:
    """Sample and score completions for prompts that have none yet, then list the best completion of each prompt."""
    from preflab.files import read_jsonl
    from preflab.stages.common.recipe_rewards import scorer_maker

    asked, make_scorer = SamplingAsked.of(ctx), scorer_maker(ctx)
    done = {row["prompt_id"]: row for row in read_jsonl(asked.stage.folder / CHOSEN)}
    notes, further = "", dict[str, float | str]()
    if any(prompt.id not in done for prompt in asked.prompts):
        notes, further = _choose(asked, make_scorer, done, ctx.workspace)
    prompts = [prompt for prompt in asked.prompts if prompt.id in done]
    rows = [done[prompt.id] for prompt in prompts]
    _list_kept(asked.stage.folder, prompts, rows, ctx.workspace)
    result = _result(asked.stage.folder, rows)
    return replace(result, summary=result.summary + notes, figures={**result.figures, **further})


def _choose(
    asked: SamplingAsked,
    make_scorer: Callable[[PolicySide], Scorer],
    done: dict[str, dict[str, Any]],
    workspace: Workspace,
) -> tuple[str, dict[str, float | str]]:
    """Sample and score for the prompts without a row in `done` and add their rows; returns text and figures."""
    from preflab.files import append_jsonl
    from preflab.progress import progress
    from preflab.rewards.sources import PolicySide

    settings, num, num_prompts = asked.settings, asked.settings.num_completions, len(asked.prompts)
    writer = asked.open_writer(settings)
    fitting = writer.fit(asked.prompts)
    missing = [prompt for prompt in fitting if prompt.id not in done]
    notes, further = writer.long.said, {**writer.long.figures, **writer.fix_longest()}
    ids = [(prompt, writer.ids[prompt.id]) for prompt in fitting]
    scorer = make_scorer(PolicySide(writer.renderer.tokenizer, prompts=ids, max_new_tokens=settings.max_new_tokens))
    with progress(asked.stage.name, num_prompts * num, (num_prompts - len(missing)) * num) as bar:
        for chunk in chunks_of(missing, settings):
            completions = writer.write(chunk, bar.advance)
            rewards = _rewards(writer, scorer, chunk, completions, num)
            workspace.put([*chunk, *completions])
            for number, prompt in enumerate(chunk):
                group = completions[number * num : (number + 1) * num]
                done[prompt.id] = _row(prompt, group, rewards[number * num : (number + 1) * num])
                append_jsonl(asked.stage.folder / CHOSEN, done[prompt.id])
    writer.engine.release()
    return notes, further


def _list_kept(folder: Path, prompts: Sequence[Prompt], rows: Sequence[dict[str, Any]], workspace: Workspace) -> None:
    """Write completions.json and demonstrations.jsonl from the completion that was kept of each prompt."""
    from preflab.files import write_json, write_text

    kept = [row["kept"] for row in rows]
    write_json(folder / "completions.json", kept)
    best = {completion.id: completion for completion in workspace.completions(kept)}
    lines = demonstration_lines((prompt, best[id_]) for prompt, id_ in zip(prompts, kept, strict=True))
    write_text(folder / "demonstrations.jsonl", lines)


def _rewards(
    writer: Writer, scorer: Scorer, prompts: Sequence[Prompt], completions: Sequence[Completion], num: int
) -> list[float]:
    """One reward per completion, checked to be finite; `num` completions per prompt."""
    from preflab.training.protocols import ScoringItem, check_scores

    ids = [writer.ids[prompt.id] for prompt in prompts]
    items = [
        ScoringItem(prompts[n // num], one.text, ids[n // num], one.token_ids, one.finish_reason)
        for n, one in enumerate(completions)
    ]
    total = scorer.score(items).total
    check_scores(total, items)
    return total.tolist()


def _row(prompt: Prompt, completions: Sequence[Completion], rewards: Sequence[float]) -> dict[str, Any]:
    from preflab.policy.best_of_n import keep_best

    ids = [completion.id for completion in completions]
    return {"prompt_id": prompt.id, "kept": ids[keep_best(rewards)], "completions": ids, "rewards": list(rewards)}


def _result(folder: Path, rows: Sequence[dict[str, Any]]) -> StageResult:
    import torch

    from preflab.files import write_json
    from preflab.policy.best_of_n import worth_for_every_n

    worth = worth_for_every_n(torch.tensor([row["rewards"] for row in rows]))
    write_json(folder / "worth.json", {"schema": 1, "best_of": [asdict(one) for one in worth]})
    first, last = worth[0], worth[-1]
    figures = {
        "num_prompts": len(rows),
        "n": last.n,
        "reward_one": first.reward,
        "reward_best": last.reward,
        "kl_bound": last.kl_bound,
    }
    reward = f"reward {three_digits(first.reward)} → {three_digits(last.reward)}"
    summary = f"best of {last.n}: {reward}, at most {three_digits(last.kl_bound)} nats"
    return StageResult(summary, figures)
