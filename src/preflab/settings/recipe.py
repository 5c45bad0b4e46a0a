"""Settings of the recipe itself: its data, its device, its rounds, and which stage kinds there are."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import SerializeAsAny

from preflab.settings.ai import AiJudgeSettings
from preflab.settings.base import Settings, StageSettings, setting
from preflab.settings.best_of_n import BestOfNSettings
from preflab.settings.constitution import ReviseSettings
from preflab.settings.dpo import DpoSettings
from preflab.settings.evaluation import EvaluateSettings, ReportSettings
from preflab.settings.feedback import JudgeSettings, PanelSettings, PreferencesSettings
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import RewardSettings, SftSettings, TinySettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.probe import ProbeSettings
from preflab.settings.rating import RatingSettings
from preflab.settings.sampling import SampleSettings

EngineName = Literal["transformers"]
"""Engines of `sampling.engines.ENGINES`."""

STAGE_SETTINGS: dict[str, type[StageSettings]] = {
    "tiny": TinySettings,
    "sft": SftSettings,
    "sample": SampleSettings,
    "judge": JudgeSettings,
    "ai_judge": AiJudgeSettings,
    "preferences": PreferencesSettings,
    "revise": ReviseSettings,
    "reward": RewardSettings,
    "rating": RatingSettings,
    "dpo": DpoSettings,
    "ppo": PpoSettings,
    "grpo": GrpoSettings,
    "online_dpo": OnlineDpoSettings,
    "best_of_n": BestOfNSettings,
    "evaluate": EvaluateSettings,
    "probe": ProbeSettings,
    "report": ReportSettings,
}
"""Kind → its settings, in the order of the pipeline."""
HUB_ID = re.compile(
    r"(?!.*\.(?:jsonl|ndjson|json|csv|tsv|tab|parquet|arrow|txt|gz)$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+)?"
)
"""`owner/name` or `owner/name:config` of a data set on the Hub: two words, and no ending of a file."""
HUB = "hub:"
"""Before an id that is a data set's on the Hub whatever lies in the current folder."""


class DataSettings(Settings):
    """A file of rows: prompts, demonstrations, texts or preferences."""

    path: str = setting(
        ..., "File or folder, relative to the recipe file; or `owner/name` of a data set on the Hub.", "required"
    )
    format: str | None = setting(
        None,
        "Format of the rows as `preflab import --help` names it; None: the columns say what they are.",
        "choice: the names Hugging Face datasets use",
    )
    skip_bad: bool = setting(
        False,
        "Leave out rows that cannot be used and say which, instead of refusing the file.",
        "choice: nothing is left out unless said",
    )
    split: str | None = setting(
        None,
        "Which split of a folder or data set with several; None: the only one.",
        "choice: nothing is picked unless said",
        counts="if_set",
    )
    limit: int | None = setting(
        None, "Read only the first so many rows; None: all.", "choice: nothing is left out unless said", ge=1,
        counts="if_set",
    )  # fmt: skip
    as_turns: bool = setting(
        False,
        "A prompt that is a text becomes a user's turn, its completion the assistant's, for models with a template.",
        "choice: texts are used as they are",
        counts="if_set",
    )
    columns: dict[str, str] = setting(
        {}, "Column of the file → the name preflab knows, such as `question: prompt`.", "choice: none renamed"
    )
    defaults: dict[str, Any] = setting(
        {},
        "Column → the value of rows in which it is missing or empty, such as `system: Be kind.` or "
        "`chat_template_kwargs: {…}`. A system turn of a row's own counts as its system column.",
        "choice: rows as they are",
        counts="if_set",
    )
    held_out: float = setting(
        0.0,
        "Share of the prompts in `name.held_out`; the rest is `name.train`.",
        "choice: nothing is held out unless said",
        ge=0,
        lt=1,
    )


class DeviceSettings(Settings):
    """What the stages compute on and in which precision."""

    threads: int = setting(1, "Processor threads torch uses.", "choice: equal results run after run", ge=1, le=4096)
    precision: Literal["float32", "bfloat16", "float16", "auto"] = setting(
        "float32",
        "What is computed in; `auto`: bfloat16 on a GPU that has it, else float32. What learns has float32 weights "
        "in each. The old name `dtype` is still read.",
        "choice: the same numbers on any machine",
    )
    engine: EngineName = setting(
        "transformers",
        "What writes completions; `transformers`: preflab's own decode loop over the model that learns.",
        "choice: no second copy of the weights",
    )


class RoundsSettings(Settings):
    """How often part of the recipe is repeated with the new policy."""

    num: int = setting(1, "Rounds.", "choice: once through", ge=1, le=100)
    repeat: tuple[str, ...] = setting((), "Stages repeated in every round after the first.", "choice: none")


class RecipeSettings(Settings):
    """One recipe file: the whole truth about a run, inherited from nothing."""

    recipe: Literal[1] = setting(..., "Version of the recipe's form; always 1 so far.", "required")
    seed: int = setting(0, "Seed from which every stage's seed is derived.", "choice", ge=0)
    workspace: str = setting(
        ".", "Folder of the database and of `runs/`, relative to the recipe file.", "choice: beside the recipe"
    )
    device: DeviceSettings = setting(DeviceSettings(), "What is computed on.", "see its own settings")
    data: dict[str, DataSettings] = setting({}, "Data by name.", "choice: none")
    labelers: dict[str, PanelSettings] = setting({}, "Panels of labelers by name.", "choice: none")
    stages: dict[str, SerializeAsAny[StageSettings]] = setting(..., "Stages by name.", "required", min_length=1)
    rounds: RoundsSettings = setting(RoundsSettings(), "Repetition.", "see its own settings")
