"""Stage `ai_judge`: an AI labeler judges completions; its agreement with people is measured where both judged.

Files in the run folder:

judgments.json  {"campaign_id", "judgment_ids"}, as of the stage `judge`
ai_judge.json   {"schema": 1, "judge": {…}, "num_tasks", "num_judged", "num_unread", "ties": share or null,
                 "usage": {"num_calls", "num_retries", "prompt_tokens", "completion_tokens", "seconds", "cost"},
                 "people": null or {"stage", "num_both", "agreement": share, "calibration": {criterion: {…}}}}
points.jsonl    only when rating by criteria, appended as ratings arrive:
                {"completion_id", "points": {criterion: number or null}}
usage.json      usage of an endpoint so far, summed over all starts of the stage
scores.jsonl    only when rating by criteria: {"completion_id", "points": {criterion: number}, "score": weighted mean,
                on people's scale where a calibration could be fitted}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.files import append_jsonl, read_json, read_jsonl, write_json, write_text
from preflab.maths.chance import describe_chance
from preflab.progress import progress
from preflab.recipe import Recipe
from preflab.records import (
    Answer,
    Campaign,
    Completion,
    Judgment,
    Labeler,
    LikertAnswer,
    Prompt,
    RankingAnswer,
    Task,
    content_id,
)
from preflab.seeds import derive_seed
from preflab.settings.ai import AiJudgeSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.listed_judgments import JUDGMENTS, listed_judgments
from preflab.stages.common.stage_facts import StageFacts
from preflab.stages.judge import groups_of
from preflab.words import count, interval_text, number, percent

if TYPE_CHECKING:
    from preflab.constitution.principles import Constitution
    from preflab.labelers.ai import Judge
    from preflab.labelers.calibration import Calibration
    from preflab.labelers.endpoint import Usage
    from preflab.labelers.questions import Wording
    from preflab.store.workspace import Workspace

VERSION = 2

Points = dict[str, float | None]
"""Criterion → points; None where the judge gave none."""
FIGURES, SCORES, POINTS, USAGE = "ai_judge.json", "scores.jsonl", "points.jsonl", "usage.json"


def run(ctx: StageContext) -> StageResult:
    """Judge the tasks that have no judgment yet and store each judgment at once; then compute the figures."""
    from preflab.labelers.judge_sources import describe_judge

    asked = _Asked.of(ctx)
    judge = asked.open_judge()
    about = describe_judge(asked.settings.judge, judge)
    labeler = Labeler(content_id("labeler", about), f"AI judge {about.get('model', 'by likelihood')}", "ai", about)
    ctx.workspace.put([asked.campaign, *asked.tasks, labeler])
    _fix_longest(asked, judge)
    judgments, points = _judge_all(asked, judge, labeler, ctx.workspace)
    _refuse_silence(asked, judgments)
    ids = sorted(judgment.id for judgment in judgments)
    write_json(asked.stage.folder / JUDGMENTS, {"campaign_id": asked.campaign.id, "judgment_ids": ids})
    report = _report(asked, judge, about, judgments, points)
    write_json(asked.stage.folder / FIGURES, report)
    return _result(report)


@dataclass(frozen=True)
class _Asked:
    """The inputs of the stage, before a model is opened."""

    settings: AiJudgeSettings
    stage: StageFacts
    campaign: Campaign
    tasks: list[Task]
    prompts: Mapping[str, Prompt]
    """Prompt id → prompt."""
    texts: Mapping[str, str]
    """Completion id → text."""
    constitution: Constitution | None
    """The constitution whose principles replace the question, if any."""
    people: list[Judgment]
    """The judgments of the stage `people`; [] without it."""
    open_judge: Callable[[], Judge]

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Reads the completions, the constitution and people's judgments, and locates the judge.

        Raises:
            PreflabError: completions cannot be judged as the settings say, or the constitution cannot be read.
        """
        from preflab.labelers.judge_sources import make_judge

        settings: AiJudgeSettings = ctx.settings
        prompted = ctx.prompted_completions(settings.completions)
        campaign, tasks = _campaign(ctx, [completion for _, completion in prompted])
        constitution = _constitution(ctx.recipe, settings)
        wording = wording_of(constitution)
        return cls(
            settings=settings,
            stage=StageFacts.of(ctx),
            campaign=campaign,
            tasks=tasks,
            prompts={prompt.id: prompt for prompt, _ in prompted},
            texts={completion.id: completion.shown for _, completion in prompted},
            constitution=constitution,
            people=listed_judgments(ctx, settings.people)[0] if settings.people else [],
            open_judge=partial(make_judge, settings.judge, ctx.model_folder, dtype=ctx.precision, wording=wording),
        )


def _judge_all(
    asked: _Asked, judge: Judge, labeler: Labeler, workspace: Workspace
) -> tuple[list[Judgment], dict[str, Points]]:
    """Judge the tasks without a judgment by this labeler; returns all judgments, and completion id → points."""
    folder, tasks = asked.stage.folder, asked.tasks
    done = {j.task_id: j for j in workspace.judgments(campaign_id=asked.campaign.id) if j.labeler_id == labeler.id}
    points: dict[str, Points] = {row["completion_id"]: row["points"] for row in read_jsonl(folder / POINTS)}
    usage = _usage_so_far(folder, judge)
    with progress(asked.stage.name, total=len(tasks), done=len(done)) as bar:
        for task in tasks:
            if task.id in done:
                continue
            try:
                judgment, new_points = _judged(asked, judge, task, labeler)
            finally:
                if usage is not None:
                    write_json(folder / USAGE, usage.to_json())
            for completion_id, row in new_points.items():  # stored before the judgment, since a judged task is skipped
                append_jsonl(folder / POINTS, {"completion_id": completion_id, "points": row})
            points |= new_points
            if judgment is not None:
                workspace.put([judgment])
                done[task.id] = judgment
            bar.advance(1)
    return [done[task.id] for task in tasks if task.id in done], points


def _campaign(ctx: StageContext, completions: Sequence[Completion]) -> tuple[Campaign, list[Task]]:
    """The campaign and its tasks. Their ids are derived from the stage, so that an interrupted stage continues."""
    settings: AiJudgeSettings = ctx.settings
    campaign = Campaign(
        content_id("campaign", {"run": ctx.folder.name, "seed": ctx.seed}),
        ctx.name,
        settings.way,
        question=settings.question,
        overlap=1,
        criteria=tuple(settings.criteria),
    )
    prompts = {completion.id: completion.prompt_id for completion in completions}
    return campaign, [
        Task(content_id("task", {"campaign": campaign.id, "completions": list(ids)}), campaign.id, prompts[ids[0]], ids)
        for ids in groups_of(ctx.name, settings.way, completions)
    ]


def check(recipe: Recipe, settings: AiJudgeSettings) -> None:
    """Reads the constitution, if the recipe uses one, before anything runs.

    Raises:
        PreflabError: the constitution cannot be read or has an empty principle.
    """
    _constitution(recipe, settings)


def _constitution(recipe: Recipe, settings: AiJudgeSettings) -> Constitution | None:
    """The constitution whose principles replace the question; None unless the recipe sets `by_principle`."""
    from preflab.stages.revise import constitution_of

    return constitution_of(recipe, settings.constitution) if settings.by_principle else None


def wording_of(constitution: Constitution | None) -> Wording:
    """The wording of the question for a judge by likelihood: the constitution's wording if it has one."""
    from preflab.labelers.questions import OWN_WORDING, Wording

    if constitution is None or constitution.layout.comparison is None:
        return OWN_WORDING
    return Wording(constitution.layout.comparison, constitution.layout.labels)


def _question(asked: _Asked, task: Task) -> tuple[str, str]:
    """The question for a task, and the start of the judgment's note, which names the principle drawn for the task."""
    if asked.constitution is None:
        return asked.settings.question, ""
    principle = asked.constitution.draw(derive_seed(asked.stage.seed, "comparison", task.id))
    return principle.comparison, f"principle: {principle.name}\n\n"


def _fix_longest(asked: _Asked, judge: Judge) -> None:
    """Fix a local judge's rotary frequencies for the longest question that any task of the stage can produce."""
    from preflab.labelers.ai import PairAsked, RatingAsked
    from preflab.labelers.local import LocalJudge

    settings = asked.settings

    def questions() -> Iterator[PairAsked | RatingAsked]:
        for task in asked.tasks:
            question, _ = _question(asked, task)
            prompt, shown = asked.prompts[task.prompt_id].shown, [asked.texts[i] for i in task.completion_ids]
            if settings.by_pairs:
                yield from (PairAsked(question, prompt, one, other) for one, other in permutations(shown, 2))
            for name in settings.criteria:
                yield from (RatingAsked(name, prompt, text, settings.scale_ends.get(name)) for text in shown)

    if isinstance(judge, LocalJudge):
        judge.fix_longest(questions())


def _judged(asked: _Asked, judge: Judge, task: Task, labeler: Labeler) -> tuple[Judgment | None, dict[str, Points]]:
    """The judgment (None if the judge's answer could not be read), and completion id → points per criterion."""
    from preflab.labelers.ai import judge_ranking, judge_ratings

    settings, prompt = asked.settings, asked.prompts[task.prompt_id]
    question, note = _question(asked, task)
    shown = [asked.texts[i] for i in task.completion_ids]
    points: dict[str, Points] = {}
    answer: Answer
    if settings.by_pairs:
        ranking = judge_ranking(judge, question, prompt.shown, shown)
        if ranking is None:
            return None, points
        answer, why = RankingAnswer(ranking[0]), ranking[1]
    else:
        scores, why = judge_ratings(judge, list(settings.criteria), prompt.shown, shown, settings.scale_ends.get)
        for place, completion_id in enumerate(task.completion_ids):
            points[completion_id] = {name: column[place] for name, column in scores.items()}
        if not any(point is not None for column in scores.values() for point in column):
            return None, points
        answer = LikertAnswer({name: tuple(_whole(point) for point in column) for name, column in scores.items()})
    judgment = Judgment(
        content_id("judgment", {"task": task.id, "labeler": labeler.id}),
        task.campaign_id,
        task.id,
        task.prompt_id,
        task.completion_ids,
        tuple(range(len(task.completion_ids))),
        question,
        1,
        answer,
        labeler.id,
        "ai",
        note=(note + why)[:20_000],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return judgment, points


def _whole(point: float | None) -> int | None:
    return None if point is None else min(5, max(1, round(point)))


def _usage_so_far(folder: Path, judge: Judge) -> Usage | None:
    """The usage counts of an endpoint, continued from earlier starts of this stage; None for other judges."""
    from preflab.labelers.ai import EndpointJudge

    if not isinstance(judge, EndpointJudge):
        return None
    path = folder / USAGE
    if path.exists():
        judge.endpoint.usage.restore(read_json(path))
    return judge.endpoint.usage


def _refuse_silence(asked: _Asked, judgments: Sequence[Judgment]) -> None:
    """Raises an error if no answer of the judge could be read."""
    if not judgments:
        num_tasks = count(len(asked.tasks), "task")
        raise PreflabError(
            f"stage {asked.stage.name}: none of {num_tasks} was judged: no answer of the judge could be read",
            "a last line such as `VERDICT: A` or `SCORE: 4`",
            "use a model that follows instructions, raise max_tokens, or judge by label probabilities",
        )


def _report(
    asked: _Asked,
    judge: Judge,
    about: Mapping[str, Any],
    judgments: Sequence[Judgment],
    points: Mapping[str, Points],
) -> dict[str, Any]:
    """The content of ai_judge.json; also writes scores.jsonl when rating by criteria."""
    from preflab.labelers.ai import EndpointJudge
    from preflab.labelers.calibration import calibrated_scores

    settings, num_tasks = asked.settings, len(asked.tasks)
    people = _people(asked, judgments, points) if settings.people else None
    if not settings.by_pairs:
        calibrations: dict[str, Calibration] = people["lines"] if people else {}
        lines = [json.dumps(row) + "\n" for row in calibrated_scores(settings.criteria, points, calibrations)]
        write_text(asked.stage.folder / SCORES, "".join(lines))
    usage = None
    if isinstance(judge, EndpointJudge) and settings.judge.endpoint is not None:
        used, prices = judge.endpoint.usage, settings.judge.endpoint
        usage = {**used.to_json(), "cost": used.cost(prices.price_prompt, prices.price_completion)}
    ties = [_share_of_ties(j.answer.ranks_given) for j in judgments if j.answer.ranks_given is not None]
    report: dict[str, Any] = {
        "schema": 1,
        "judge": dict(about),
        "num_tasks": num_tasks,
        "num_judged": len(judgments),
        "num_unread": num_tasks - len(judgments),
        "ties": sum(ties) / len(ties) if ties else None,
        "usage": usage,
        "people": None,
    }
    if people:
        report["people"] = {
            "stage": settings.people,
            "num_both": people["num_both"],
            "agreement": asdict(people["agreement"]),
            "calibration": {name: asdict(line) for name, line in people["lines"].items()},
        }
    return report


def _share_of_ties(ranks: Sequence[int | None]) -> float:
    """Share of a ranking's pairs that are ties: the judge saw no difference, or its choice followed the position."""
    from itertools import combinations

    pairs = list(combinations(ranks, 2))
    return sum(a == b for a, b in pairs) / max(1, len(pairs))


def _people(asked: _Asked, judgments: Sequence[Judgment], points: Mapping[str, Points]) -> dict[str, Any]:
    """Agreement with people on the pairs that both judged, and per criterion the line from AI points to their scale."""
    from preflab.feedback.consensus import counted
    from preflab.feedback.with_people import agreement_with_people, mean_ratings
    from preflab.labelers.calibration import calibrate

    theirs = [judgment for judgment in counted(asked.people) if judgment.labeler_kind != "ai"]
    num_both, agreement = agreement_with_people(judgments, theirs)
    means = mean_ratings(theirs)
    lines = {
        name: calibrate(
            {i: float(point) for i, row in points.items() if (point := row.get(name)) is not None},
            means.get(name, {}),
        )
        for name in asked.settings.criteria
    }
    return {"num_both": num_both, "agreement": agreement, "lines": lines}


def _result(report: Mapping[str, Any]) -> StageResult:
    from preflab.labelers.questions import THINKING_CLOSED

    sentences = [f"{count(report['num_judged'], 'task')} judged by an AI"]
    figures: dict[str, float | str] = {"num_tasks": report["num_tasks"], "num_judgments": report["num_judged"]}
    if report["num_unread"]:
        sentences.append(f"{count(report['num_unread'], 'answer')} could not be read")
        figures["num_unread"] = report["num_unread"]
    if report["judge"].get("asked") == THINKING_CLOSED:
        sentences.append("the judge's thinking was closed before each label")
    people = report["people"]
    if people and people["agreement"]["value"] is not None:
        share = people["agreement"]
        doubt = describe_chance(share, "the pairs that both judged")
        sentences.append(f"agrees with people in {interval_text(share, percent)}" + (f", {doubt}" if doubt else ""))
        figures["agreement_with_people"] = share["value"]
    if report["usage"] and report["usage"]["cost"]:
        sentences.append(f"cost {number(report['usage']['cost'])}")
        figures["cost"] = report["usage"]["cost"]
    return StageResult(", ".join(sentences), figures)
