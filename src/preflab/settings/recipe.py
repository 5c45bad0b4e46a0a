"""Settings of the recipe itself: data, device and rounds, and the table of stage kinds."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator

from preflab.settings.ai import AiJudgeSettings
from preflab.settings.base import Settings, StageSettings, setting
from preflab.settings.best_of_n import BestOfNSettings
from preflab.settings.constitution import ReviseSettings
from preflab.settings.dpo import DpoSettings
from preflab.settings.evaluation import EvaluateSettings, ReportSettings
from preflab.settings.feedback import JudgeSettings, PanelSettings, PreferencesSettings
from preflab.settings.grpo import GrpoSettings
from preflab.settings.ilql import IlqlSettings
from preflab.settings.learning import RewardSettings, SftSettings, TinySettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.probe import ProbeSettings
from preflab.settings.prompt_template import template_columns
from preflab.settings.rating import RatingSettings
from preflab.settings.sampling import SampleSettings
from preflab.settings.simulate import SimulateSettings
from preflab.settings.text_classifier import TextClassifierSettings
from preflab.settings.vllm import VllmSettings

EngineName = Literal["transformers", "captured", "plain", "vllm"]
"""Engines of `sampling.engines.ENGINES`."""
PackingName = Literal["auto", "on", "off"]
"""Choices of `models.packing`."""

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
    "classifier": TextClassifierSettings,
    "dpo": DpoSettings,
    "ppo": PpoSettings,
    "grpo": GrpoSettings,
    "online_dpo": OnlineDpoSettings,
    "ilql": IlqlSettings,
    "best_of_n": BestOfNSettings,
    "evaluate": EvaluateSettings,
    "probe": ProbeSettings,
    "simulate": SimulateSettings,
    "report": ReportSettings,
}
"""Kind → its settings, in the order of the pipeline."""
HUB_ID = re.compile(
    r"(?!.*\.(?:jsonl|ndjson|json|csv|tsv|tab|parquet|arrow|txt|gz)$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+)?"
)
"""`owner/name` or `owner/name:config` of a data set on the Hub, without a file's ending."""
MOST_SEED = 2**31 - 1
"""Largest training seed that a recipe may name."""
HUB = "hub:"
"""Prefix of a Hub data set's id, which is then never looked up as a path."""


class DataSettings(Settings):
    """A file of rows: prompts, demonstrations, texts or preferences."""

    path: str = setting(
        ...,
        "File or folder, relative to the recipe file; `owner/name` of a data set on the Hub; or `preflab:name.jsonl`, "
        "a file of preflab itself.",
        "required",
    )
    format: str | None = setting(
        None,
        "Format of the rows, by its name in `preflab import --help`; None: guessed from the columns.",
        "choice: the names Hugging Face datasets use",
    )
    skip_bad: bool = setting(
        False,
        "Leave out rows that cannot be used and list them, instead of refusing the file.",
        "choice: nothing is left out by default",
    )
    split: str | None = setting(
        None,
        "Split of a folder or data set with several; None: the only one.",
        "choice: no split is picked by default",
        counts="if_set",
    )
    limit: int | None = setting(
        None, "Read only this many rows, from the first; None: all.", "choice: nothing is left out by default", ge=1,
        counts="if_set",
    )  # fmt: skip
    as_turns: bool = setting(
        False,
        "For models with a chat template: a text prompt becomes a user's turn, its completion the assistant's turn.",
        "choice: texts are used as they are",
        counts="if_set",
    )
    columns: dict[str, str] = setting(
        {}, "Column of the file → preflab's name for it, such as `question: prompt`.", "choice: none renamed"
    )
    template: str | None = setting(
        None,
        "Makes the prompt from other columns, such as `Summarize this.\\n\\n{dialogue}\\n\\nSummary:`; names are those "
        "after `columns`. None: the file has prompts.",
        "choice: prompts as they are",
        counts="if_set",
    )
    gather: tuple[str, ...] = setting(
        (),
        "For prompts: rows with the same prompt become one, in which these columns hold lists, such as the references "
        "of a test set with one row per reference.",
        "choice: rows as they are",
        counts="if_set",
    )
    defaults: dict[str, Any] = setting(
        {},
        "Column → value for rows in which it is missing or empty, such as `system: Be kind.` or "
        "`chat_template_kwargs: {…}`. A system turn in a row counts as its system column.",
        "choice: rows as they are",
        counts="if_set",
    )
    held_out: float = setting(
        0.0,
        "Share of the prompts in `name.held_out`; the others are `name.train`.",
        "choice: nothing is held out by default",
        ge=0,
        lt=1,
    )

    @field_validator("template")
    @classmethod
    def _template_names_columns(cls, template: str | None) -> str | None:
        """Refuse a template with a lone brace, or without a column."""
        if template is not None and not template_columns(template):
            raise ValueError("the template names no column: write one in braces, such as {dialogue}")
        return template


class DeviceSettings(Settings):
    """The device that stages compute on: threads, precision, engine, packing."""

    threads: int = setting(1, "CPU threads that torch uses.", "choice: equal results in every run", ge=1, le=4096)
    precision: Literal["float32", "bfloat16", "float16", "auto"] = setting(
        "float32",
        "Number format of computations; `auto`: bfloat16 on a GPU that has it, else float32. Trained weights are "
        "float32 in any case. The old name `dtype` is still read.",
        "choice: the same numbers on any machine",
    )
    engine: EngineName = setting(
        "transformers",
        "Engine that samples completions. `captured`: decodes with the trained model itself over fixed buffers, each "
        "step captured as a graph where the device can. `plain`: the same, each step launched operation by operation. "
        "`transformers`: captured on a CUDA device, else plain. `vllm`: a vLLM server (docs/how-to/vllm.md).",
        "choice: no second copy of the weights",
    )
    vllm: VllmSettings = setting(VllmSettings(), "The server of the engine `vllm`.", "see its own settings")
    packing: PackingName = setting(
        "auto",
        "Whether learning passes join their sequences without padding, by variable-length attention; `auto`: on a CUDA "
        "device in half precision; `on`: also on a CPU, by a loop over sequences. A model that gives other numbers "
        "packed keeps its padding, and a line says why.",
        "measured: the loop is slower on short rows; the results are the same up to rounding",
        counts="never",
    )

    @field_validator("packing", mode="before")
    @classmethod
    def _on_and_off_are_words(cls, packing: Any) -> Any:
        """YAML reads the words `on` and `off` as true and false."""
        return {True: "on", False: "off"}[packing] if isinstance(packing, bool) else packing


class RoundsSettings(Settings):
    """Rounds: part of the recipe is repeated with the new policy."""

    num: int = setting(1, "Number of rounds.", "choice: one", ge=1, le=100)
    repeat: tuple[str, ...] = setting((), "Stages repeated in every round after the first.", "choice: none")


class SeedsSettings(Settings):
    """Training seeds: stages that are made once per seed, as in recipes that differ in `seed` alone."""

    values: tuple[Annotated[int, Field(ge=0, le=MOST_SEED)], ...] = setting(
        ..., "The seeds, each once.", "required", min_length=1, max_length=100
    )
    repeat: tuple[str, ...] = setting(
        (),
        "Stages that are made once per seed, and with them every stage that reads them, except evaluate, probe, "
        "simulate and report; (): the stages of kind dpo, ppo, grpo, online_dpo and ilql.",
        "choice: the stages that learn a policy",
    )


class RecipeSettings(Settings):
    """One recipe file: it holds all settings of a run and includes no other file."""

    recipe: Literal[1] = setting(..., "Version of the recipe format; 1 is the only one so far.", "required")
    seed: int = setting(0, "Seed from which every stage's seed is derived.", "choice", ge=0)
    seeds: SeedsSettings | None = setting(
        None,
        "Training seeds; `seeds: [0, 1, 2]` is short for `seeds: {values: [0, 1, 2]}`. None: each stage is made once.",
        "choice: one run",
    )
    workspace: str = setting(
        ".", "Folder of the database and of `runs/`, relative to the recipe file.", "choice: beside the recipe"
    )
    device: DeviceSettings = setting(DeviceSettings(), "Device and precision.", "see its own settings")
    data: dict[str, DataSettings] = setting({}, "Data by name.", "choice: none")
    labelers: dict[str, PanelSettings] = setting({}, "Panels of labelers by name.", "choice: none")
    stages: dict[str, SerializeAsAny[StageSettings]] = setting(..., "Stages by name.", "required", min_length=1)
    rounds: RoundsSettings = setting(RoundsSettings(), "Repetition.", "see its own settings")
