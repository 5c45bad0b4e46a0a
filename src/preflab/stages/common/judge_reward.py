"""Uses an AI judge as a reward, optionally calibrated to people's scale by an `ai_judge` stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preflab.errors import PreflabError
from preflab.stages.base import StageContext
from preflab.stages.common.episodes import asked_prompts, longest_completion

if TYPE_CHECKING:
    from preflab.labelers.ai import Judge
    from preflab.records import Prompt
    from preflab.rewards.judge_scorer import JudgeScorer
    from preflab.settings.rewards import RewardSource


@dataclass(frozen=True)
class JudgeInputs:
    """What the AI judges among a stage's rewards need, before a model is opened."""

    model_folder: Callable[[str], Path | str]
    """Name of a model → its folder or Hub id."""
    prompts: list[Prompt]
    """The prompts whose completions are judged; [] without an AI judge."""
    max_new_tokens: int
    """Tokens of the longest completion."""
    lines: Mapping[str, dict[str, tuple[float, float]]]
    """Name of the reward → criterion → (intercept, slope) of its calibration."""
    precision: str

    @classmethod
    def of(cls, ctx: StageContext) -> JudgeInputs:
        """Reads the prompts and the calibrations.

        Raises:
            PreflabError: an `ai_judge` stage has no calibration against people for one of the criteria.
        """
        settings = ctx.settings
        sources = [source for source in settings.rewards if source.judge is not None]
        return cls(
            model_folder=ctx.model_folder,
            prompts=asked_prompts(ctx) if sources else [],
            max_new_tokens=longest_completion(settings),
            lines={_name(source): _lines(ctx, source) for source in sources},
            precision=ctx.precision,
        )


def judge_scorer(inputs: JudgeInputs, source: RewardSource) -> JudgeScorer:
    """The scorer of a reward source that names a judge."""
    from preflab.labelers.ai import RatingAsked
    from preflab.labelers.judge_sources import make_judge
    from preflab.labelers.local import LocalJudge
    from preflab.labelers.questions import THINKING_CLOSED
    from preflab.progress import say
    from preflab.rewards.judge_scorer import JudgeScorer

    assert source.judge is not None
    judge = make_judge(source.judge, inputs.model_folder, dtype=inputs.precision)
    if isinstance(judge, LocalJudge) and judge.asked == THINKING_CLOSED:
        say(f"{_name(source)}: the judge's thinking is closed before each label")
    _fix_longest(inputs, source, judge)

    def rate(criterion: str, asked: Sequence[tuple[str, str]]) -> list[float | None]:
        ends = source.scale_ends.get(criterion)
        replies = judge.rate([RatingAsked(criterion, prompt, text, ends) for prompt, text in asked])
        return [one.score for one in replies]

    return JudgeScorer(rate, source.criteria, inputs.lines[_name(source)], _name(source))


def _name(source: RewardSource) -> str:
    return source.name or "judge"


def _fix_longest(inputs: JudgeInputs, source: RewardSource, judge: Judge) -> None:
    """Fix a local judge's rotary frequencies for the longest question plus a completion of `max_new_tokens`."""
    from preflab.labelers.ai import RatingAsked
    from preflab.labelers.local import LocalJudge

    if isinstance(judge, LocalJudge):
        asked = (
            RatingAsked(name, prompt.shown, "", source.scale_ends.get(name))
            for name in source.criteria
            for prompt in inputs.prompts
        )
        judge.fix_longest(asked, inputs.max_new_tokens)


def _lines(ctx: StageContext, source: RewardSource) -> dict[str, tuple[float, float]]:
    """Criterion → (intercept, slope) of the calibration that an `ai_judge` stage fitted; {} without `calibration`.

    Raises:
        PreflabError: that stage has no calibration against people for one of the criteria.
    """
    from preflab.files import read_json

    if source.calibration is None:
        return {}
    path = ctx.inputs[source.calibration].folder / "ai_judge.json"
    people = read_json(path)["people"] if path.exists() else None
    fitted = people["calibration"] if people else {}
    for name in source.criteria:
        if fitted.get(name, {}).get("correlation") is None:
            raise PreflabError(
                f"{source.calibration}: no calibration to people's scale for {name}",
                "an ai_judge stage with `people` who rated the same completions by this criterion",
                "remove `calibration`, or let people rate at least ten of its completions",
            )
    return {name: (fitted[name]["intercept"], fitted[name]["slope"]) for name in source.criteria}
