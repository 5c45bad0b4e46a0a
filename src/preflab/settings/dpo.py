"""Settings of the stage `dpo`: losses, data, and monitoring of the run."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import Settings, StageSettings, setting
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.preference_losses import DpoLoss, PreferenceLoss
from preflab.settings.sampling import DecodingSettings


class VerdictSettings(Settings):
    """KTO: the thresholds by which a Likert score counts as good or bad. Thumbs need none."""

    criterion: str | None = setting(
        None, "The Likert criterion; None: the only one.", "choice: required if there are several"
    )
    good_from: float = setting(4.0, "A mean score of this or more is good.", "choice: 4 and 5 of 5")
    bad_to: float = setting(
        2.0, "A mean score of this or less is bad; scores between the two are not used.", "choice: 1 and 2"
    )

    @model_validator(mode="after")
    def _apart(self) -> VerdictSettings:
        if self.bad_to >= self.good_from:
            raise ValueError("bad_to must be below good_from")
        return self


class WatchSettings(Settings):
    """Monitoring of a run: accuracy on held-out pairs, and KL of the policy's own samples."""

    every: int = setting(20, "Steps between two evaluations on the held-out groups and on samples.", "choice", ge=1)
    num_samples: int = setting(
        32,
        "Completions sampled for held-out prompts to measure the KL to the reference; 0: none.",
        "choice: half a minute on two cores at most",
        ge=0,
    )
    decoding: DecodingSettings = setting(
        DecodingSettings(),
        "How they are sampled.",
        "choice: the policy's own distribution; truncated sampling would change the KL",
    )

    @model_validator(mode="after")
    def _whole_distribution(self) -> WatchSettings:
        if self.decoding.truncated:
            raise ValueError("the KL needs the full distribution: temperature above 0, top_k 0, top_p 1, min_p 0")
        return self


class DpoSettings(StageSettings):
    """Stage `dpo`: a policy learns from preferences directly, without a reward model (Rafailov et al. 2023)."""

    makes: ClassVar[str] = "model"
    kind: Literal["dpo"] = "dpo"
    model: str = setting(
        ..., "Starting model: a stage that makes a model, a folder or a Hub id.", "required", refers="model"
    )
    reference: str | None = setting(
        None,
        "Reference model of the log-ratios; None: the starting model.",
        "Rafailov et al. 2023, section 4",
        refers="model",
    )
    preferences: str = setting(
        ..., "A stage that makes preferences, or a data name with pairs or thumbs.", "required", refers="preferences"
    )
    losses: tuple[PreferenceLoss, ...] = setting(
        (DpoLoss(),), "The losses, summed; each with its own settings.", "Rafailov et al. 2023", min_length=1
    )
    soft_labels: bool = setting(
        False, "Learn the share of votes instead of the winner.", "choice: off, as for the reward model"
    )
    fail_as_rejected: bool = setting(
        False,
        "Completions marked F lose against every other completion of their prompt.",
        "choice: off, F completions are removed",
    )
    verdicts: VerdictSettings = setting(VerdictSettings(), "KTO: what counts as good or bad.", "see its own settings")
    held_out: float = setting(0.1, "Share of the prompts kept for testing; 0: none.", "choice: a tenth", ge=0, lt=1)
    num_epochs: int = setting(1, "Passes over the preferences.", "choice: more epochs overfit", ge=1)
    num_groups_per_step: int = setting(
        16, "Preference groups in one optimiser step; a group is never split.", "choice: as the reward model", ge=1
    )
    lora: LoraSettings | None = setting(
        LoraSettings(), "Adapters; None: full fine-tuning.", "choice: the base also serves as the reference"
    )
    max_tokens: int | None = setting(
        None,
        "Longest prompt + completion, tokens; too_long decides about longer rows. None: the model's context.",
        "choice: nothing is cut silently",
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "refuse",
        "Rows beyond max_tokens: stop with an error, leave them out, or cut the beginning of their prompts.",
        "choice: nothing is cut or left out by default",
        counts="if_set",
    )
    share_prompts: bool = setting(
        True,
        "Run a group's prompt through the model once for all its completions, if the model allows it.",
        "measured: same gradient, see docs/algorithms/dpo.md",
    )
    kl_budget: float | None = setting(None, "Alarm when the mean KL per completion exceeds this, nats.", "choice: none")
    watch: WatchSettings = setting(WatchSettings(), "Monitoring of the run.", "see its own settings")
    num_kept_pairs: int = setting(
        8, "Held-out pairs whose numbers are kept while training; 0: none.", "choice", ge=0, counts="if_set"
    )
    max_record_mib: int = setting(
        128, "Most MiB of kept pairs; beyond, every second file is dropped.", "choice", ge=1, counts="never"
    )
    optimiser: OptimiserSettings = setting(
        OptimiserSettings(learning_rate=5e-5, warmup_share=0.1),
        "The optimiser.",
        "choice: LoRA on small models; warm-up as in Rafailov et al. 2023",
    )
    run: RunSettings = setting(RunSettings(), "Checkpoints and logs.", "see its own settings")

    @property
    def learns_pairs(self) -> bool:
        """Whether one of the losses learns from pairs."""
        return any(loss.row.learns_from == "pairs" for loss in self.losses)

    @property
    def learns_verdicts(self) -> bool:
        """Whether one of the losses learns from single completions marked good or bad."""
        return any(loss.row.learns_from == "verdicts" for loss in self.losses)

    @model_validator(mode="after")
    def _each_once(self) -> DpoSettings:
        kinds = [loss.kind for loss in self.losses]
        if len(set(kinds)) < len(kinds):
            raise ValueError("a loss is named twice: name each loss once, with the sum of the weights")
        return self
