"""Settings of the stage `dpo`: which losses, on what data, how the run is watched."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import Settings, StageSettings, setting
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.preference_losses import DpoLoss, PreferenceLoss
from preflab.settings.sampling import DecodingSettings


class VerdictSettings(Settings):
    """KTO: when a completion counts as good or bad. Thumbs say it themselves; Likert scores need thresholds."""

    criterion: str | None = setting(
        None, "The Likert criterion; None: the only one there is.", "choice: needed where there are several"
    )
    good_from: float = setting(4.0, "A mean score from here is good.", "choice: 4 and 5 of 5")
    bad_to: float = setting(2.0, "A mean score up to here is bad; between the two it says nothing.", "choice: 1 and 2")

    @model_validator(mode="after")
    def _apart(self) -> VerdictSettings:
        if self.bad_to >= self.good_from:
            raise ValueError("bad_to must be below good_from")
        return self


class WatchSettings(Settings):
    """How a run is watched: pairs it does not learn from, and completions of its own."""

    every: int = setting(20, "Steps between two looks at the held-out groups and at samples.", "choice", ge=1)
    num_samples: int = setting(
        32,
        "Completions written for held-out prompts, for the KL to the reference; 0: none.",
        "choice: half a minute on two cores at most",
        ge=0,
    )
    decoding: DecodingSettings = setting(
        DecodingSettings(), "How they are drawn.", "choice: the policy's own distribution, or its KL would be another's"
    )

    @model_validator(mode="after")
    def _whole_distribution(self) -> WatchSettings:
        if self.decoding.truncated:
            raise ValueError("the KL is that of the full distribution: temperature above 0, top_k 0, top_p 1, min_p 0")
        return self


class DpoSettings(StageSettings):
    """Stage `dpo`: a policy learns from preferences directly, without a reward model (Rafailov et al. 2023)."""

    makes: ClassVar[str] = "model"
    kind: Literal["dpo"] = "dpo"
    model: str = setting(
        ..., "The start: a stage that makes a model, a folder or a Hub id.", "required", refers="model"
    )
    reference: str | None = setting(
        None, "What log-ratios are taken to; None: the start itself.", "Rafailov et al. 2023, section 4", refers="model"
    )
    preferences: str = setting(
        ..., "A stage that makes preferences, or a data name with pairs or thumbs.", "required", refers="preferences"
    )
    losses: tuple[PreferenceLoss, ...] = setting(
        (DpoLoss(),), "The losses, summed; each with its own settings.", "Rafailov et al. 2023", min_length=1
    )
    soft_labels: bool = setting(
        False, "Learn the share of votes instead of the winner.", "choice: off, as the reward model"
    )
    fail_as_rejected: bool = setting(
        False, "F completions lose against every other one of their prompt.", "choice: off, F is removed"
    )
    verdicts: VerdictSettings = setting(VerdictSettings(), "KTO: what counts as good or bad.", "see its own settings")
    held_out: float = setting(0.1, "Share of the prompts kept for testing; 0: none.", "choice: a tenth", ge=0, lt=1)
    num_epochs: int = setting(1, "Passes over the preferences.", "choice: more of them overfit", ge=1)
    num_groups_per_step: int = setting(
        16, "Preference groups in one optimiser step, each kept whole.", "choice: as the reward model", ge=1
    )
    lora: LoraSettings | None = setting(
        LoraSettings(), "Adapters; None: full fine-tuning.", "choice: the base doubles as reference"
    )
    max_tokens: int | None = setting(
        None,
        "Longest prompt + completion; too_long says what happens to longer ones. None: the context.",
        "choice: nothing is cut silently",
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Rows beyond max_tokens: refuse them all at once, leave them out, or cut the beginning of their prompts.",
        "choice: nothing is cut or left out unless said",
        counts="if_set",
    )
    share_prompts: bool = setting(
        True,
        "A group's prompt goes through the model once for all its completions, where the model allows it.",
        "measured: same gradient, see docs/algorithms/dpo.md",
    )
    kl_budget: float | None = setting(None, "Alarm when the mean KL per completion exceeds this, nats.", "choice: none")
    watch: WatchSettings = setting(WatchSettings(), "How the run is watched.", "see its own settings")
    optimiser: OptimiserSettings = setting(
        OptimiserSettings(learning_rate=5e-5, warmup_share=0.1),
        "The optimiser.",
        "choice: LoRA on small models; warm-up as in Rafailov et al. 2023",
    )
    run: RunSettings = setting(RunSettings(), "Checkpoints and logs.", "see its own settings")

    @property
    def learns_pairs(self) -> bool:
        """Whether one of the losses asks for pairs."""
        return any(loss.row.learns_from == "pairs" for loss in self.losses)

    @property
    def learns_verdicts(self) -> bool:
        """Whether one of the losses asks for single completions called good or bad."""
        return any(loss.row.learns_from == "verdicts" for loss in self.losses)

    @model_validator(mode="after")
    def _each_once(self) -> DpoSettings:
        kinds = [loss.kind for loss in self.losses]
        if len(set(kinds)) < len(kinds):
            raise ValueError("each loss may be named once: give it the sum of the weights")
        return self
