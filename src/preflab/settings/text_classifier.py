"""Settings of text classifiers, which serve as a reward or as a judge."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from preflab.settings.base import StageSettings, setting
from preflab.settings.learning import OptimiserSettings, RunSettings


class TextClassifierSettings(StageSettings):
    """Stage `classifier`: train a classifier of single texts, for `rewards: [{model: …, class_label: …}]`."""

    makes: ClassVar[str] = "reward"
    kind: Literal["classifier"] = "classifier"
    labels: str = setting(
        ..., "A data name with the columns `text` and `label`; any number of classes.", "required", refers="data"
    )
    test_labels: str | None = setting(
        None, "Further labels for testing, besides the held-out share.", "choice: none", refers="data"
    )
    model: str | None = setting(
        None,
        "A folder or Hub id whose body is fine-tuned with a new head; None: a small model is made from nothing.",
        "choice: needs no download",
        refers="model",
    )
    architecture: Literal["bert", "llama"] = setting(
        "bert",
        "For a model from nothing: `bert` reads in both directions, `llama` reads from left to right.",
        "choice: classifiers are usually encoders",
    )
    num_layers: int = setting(2, "For a model from nothing: layers.", "choice: seconds on one core", ge=1, le=1000)
    hidden_size: int = setting(64, "For a model from nothing: width.", "choice: seconds on one core", ge=8)
    num_heads: int = setting(4, "For a model from nothing: attention heads.", "choice: 16 dimensions per head", ge=1)
    context: int = setting(
        128, "Longest text, tokens; the end of longer ones is not read.", "choice: short texts", ge=8
    )
    held_out: float = setting(0.1, "Share of the texts kept for testing; 0: none.", "choice: a tenth", ge=0, lt=1)
    num_epochs: int = setting(3, "Passes over the texts.", "choice: small data", ge=1)
    num_texts_per_step: int = setting(32, "Texts in one optimiser step.", "choice", ge=1)
    optimiser: OptimiserSettings = setting(
        OptimiserSettings(learning_rate=1e-3, warmup_share=0.05, tokens_per_micro_batch=1024),
        "The optimiser; with `model`, lower the learning rate to about 2e-5.",
        "measured: right on 94 % of the labels of the summarisation lab, of which 4 % are wrong",
    )
    run: RunSettings = setting(RunSettings(save_every=200), "Checkpoints and logs.", "see its own settings")

    @model_validator(mode="after")
    def _nothing_is_compiled(self) -> TextClassifierSettings:
        """Refuse a setting that this stage does not read."""
        if self.optimiser.compile:
            raise ValueError("optimiser.compile is for stages that train a language model or a reward model: remove it")
        return self
