"""Stage `best_of_n`: samples n completions of every prompt and keeps the one with the highest reward.

Completions are stored as they are written, so that an interruption loses little. Files in the run folder:

completions.json      ids of the kept completions, in the order of the prompts
chosen.jsonl          one row per prompt whose completions are in the workspace: {"prompt_id", "kept": id,
                      "completions": [ids], "rewards": [numbers]}
worth.json            {"schema": 1, "best_of": [{"n", "kl_bound", "reward", "error"}]} for n = 1 … num_completions
demonstrations.jsonl  the kept completions as rows of `prompt`, `completion` and `finish_reason`, for stage `sft`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from preflab.settings.best_of_n import BestOfNSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.demonstrations import demonstration_lines
from preflab.stages.sample import BATCHES_PER_CHUNK, Writer
from preflab.words import three_digits

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt
    from preflab.training.protocols import Scorer

VERSION = 3


def run(ctx: StageContext) -> StageResult:
    """Sample and score completions for prompts that have none yet, then list the best completion of each prompt."""
    from preflab.files import append_jsonl, read_jsonl, write_json, write_text

    settings: BestOfNSettings = ctx.settings
    prompts = ctx.prompts(settings.prompts)[: settings.max_prompts]
    done = {row["prompt_id"]: row for row in read_jsonl(ctx.folder / "chosen.jsonl")}
    missing = [prompt for prompt in prompts if prompt.id not in done]
    remarks, further = "", {}
    if missing:
        writer = Writer.load(ctx.model_folder(settings.model), settings, ctx.seed, ctx.precision, ctx.device.engine)
        fitting = writer.fit(prompts)
        missing = [prompt for prompt in fitting if prompt.id not in done]
        remarks, further = writer.long.said, {**writer.long.figures, **writer.fix_longest()}
        scorer = _scorer(ctx, writer, fitting)
        num = settings.num_completions
        size = max(1, BATCHES_PER_CHUNK * settings.max_batch_rows // num)
        with ctx.progress(ctx.name, len(prompts) * num, (len(prompts) - len(missing)) * num) as bar:
            for start in range(0, len(missing), size):
                chunk = missing[start : start + size]
                completions = writer.write(chunk, bar.advance)
                rewards = _rewards(writer, scorer, chunk, completions, num)
                ctx.workspace.put([*chunk, *completions])
                for number, prompt in enumerate(chunk):
                    group = completions[number * num : (number + 1) * num]
                    done[prompt.id] = _row(prompt, group, rewards[number * num : (number + 1) * num])
                    append_jsonl(ctx.folder / "chosen.jsonl", done[prompt.id])
        writer.engine.release()
    prompts = [prompt for prompt in prompts if prompt.id in done]
    rows = [done[prompt.id] for prompt in prompts]
    kept = [row["kept"] for row in rows]
    write_json(ctx.folder / "completions.json", kept)
    best = {completion.id: completion for completion in ctx.workspace.completions(kept)}
    lines = demonstration_lines((prompt, best[id_]) for prompt, id_ in zip(prompts, kept, strict=True))
    write_text(ctx.folder / "demonstrations.jsonl", lines)
    result = _result(ctx, rows)
    return replace(result, summary=result.summary + remarks, figures={**result.figures, **further})


def _scorer(ctx: StageContext, writer: Writer, prompts: Sequence[Prompt]) -> Scorer:
    """The scorer that combines the recipe's rewards; `prompts` are those that fit into the model's context."""
    from functools import partial

    from preflab.rewards.sources import PolicySide, make_scorer
    from preflab.stages.common.judge_reward import judge_scorer
    from preflab.stages.common.on_policy import reference_items

    settings: BestOfNSettings = ctx.settings
    asked = [(prompt, writer.ids[prompt.id]) for prompt in prompts]
    return make_scorer(
        settings.rewards,
        ctx.model_folder,
        PolicySide(writer.renderer.tokenizer, prompts=asked, max_new_tokens=settings.max_new_tokens),
        reference_items=partial(reference_items, ctx),
        judges=partial(judge_scorer, ctx),
        dtype=ctx.precision,
    )


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


def _result(ctx: StageContext, rows: Sequence[dict[str, Any]]) -> StageResult:
    import torch

    from preflab.files import write_json
    from preflab.policy.best_of_n import worth_for_every_n

    worth = worth_for_every_n(torch.tensor([row["rewards"] for row in rows]))
    write_json(ctx.folder / "worth.json", {"schema": 1, "best_of": [asdict(one) for one in worth]})
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
