"""Settings that all training stages share, and the settings of SFT, reward models and tiny models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from preflab.settings.base import Settings, StageSettings, setting

if TYPE_CHECKING:  # stages see numbers: `stages.common.chosen_memory` has replaced `auto`
    TokensOrAuto = int
    BoolOrAuto = bool
else:
    TokensOrAuto = Annotated[int, Field(ge=1)] | Literal["auto"]
    BoolOrAuto = bool | Literal["auto"]


class LoraSettings(Settings):
    """Low-rank adapters instead of full fine-tuning (Hu et al. 2021)."""

    rank: int = setting(16, "Rank of the adapters.", "choice: as Hugging Face peft's examples", ge=1)
    alpha: float = setting(32.0, "Scale of the adapters: alpha / rank multiplies them.", "choice: twice the rank", gt=0)
    target_modules: str | tuple[str, ...] = setting(
        "all-linear",
        "Modules with an adapter: names of layers or of experts' weights, or all-linear for all of them.",
        "Dettmers et al. 2023, section 4: all layers",
    )
    where: Literal["all", "decoder"] = setting(
        "all",
        "Parts of an encoder–decoder with an adapter. With decoder, all roles share the encoder's pass over a prompt.",
        "choice: as Hugging Face peft",
    )
    base: Literal["as_loaded", "nf4"] = setting(
        "as_loaded",
        "Storage of the base's linear layers: device.precision, or 4-bit NF4 (QLoRA; needs bitsandbytes).",
        "choice: exact; nf4 after Dettmers et al. 2023 (arXiv 2305.14314)",
        counts="if_set",
    )


class OptimiserSettings(Settings):
    """AdamW with warm-up and decay, and the size of micro-batches."""

    learning_rate: float = setting(1e-4, "Peak learning rate.", "choice: LoRA on small models", gt=0)
    schedule: Literal["linear", "constant", "cosine"] = setting(
        "linear", "Decay of the learning rate to 0 over the run.", "Huang et al. 2024 (arXiv 2403.17031): linear"
    )
    warmup_share: float = setting(
        0.0, "Share of the steps over which the learning rate rises from 0.", "choice: none", ge=0, lt=1
    )
    weight_decay: float = setting(0.0, "Decoupled weight decay.", "choice: none, as in Huang et al. 2024", ge=0)
    adam_eps: float = setting(1e-5, "Adam's epsilon.", "Huang et al. 2024 (arXiv 2403.17031)", gt=0)
    adam_beta1: float = setting(0.9, "Adam's first decay rate.", "Kingma and Ba 2015", ge=0, lt=1)
    adam_beta2: float = setting(0.999, "Adam's second decay rate.", "Kingma and Ba 2015", ge=0, lt=1)
    max_grad_norm: float = setting(
        1.0, "Larger gradient norms are scaled down to this.", "choice: usual for transformers", gt=0
    )
    tokens_per_micro_batch: TokensOrAuto = setting(
        4096,
        "Tokens in one forward pass; changes memory use, not the result. auto: as many as fit into free memory.",
        "choice: fits a laptop",
    )
    gradient_checkpointing: BoolOrAuto = setting(
        False,
        "Recompute activations in the backward pass to save memory. auto: where free memory needs it.",
        "choice: off, memory is small with chunked logits",
    )
    compile: bool = setting(
        False,
        "Compile the model's blocks (torch.compile) for training; not with gradient_checkpointing or lora.base: nf4.",
        "choice: off, the first step of each kind takes a minute and numbers change by rounding",
        counts="if_set",
    )
    states: Literal["float32", "8bit"] = setting(
        "float32",
        "Precision of Adam's two states per weight: 8 bytes, or 2 bytes in 8 bits (needs bitsandbytes).",
        "choice: exact; 8 bits after Dettmers et al. 2022 (arXiv 2110.02861)",
        counts="if_set",
    )

    @model_validator(mode="after")
    def _one_way_through_blocks(self) -> OptimiserSettings:
        """Refuse to compile blocks whose passes are recomputed: the recomputation switches roles."""
        if self.compile and self.gradient_checkpointing:
            raise ValueError(
                "compile and gradient_checkpointing exclude each other (auto may switch it on): "
                "write gradient_checkpointing: false or compile: false"
            )
        return self


class RunSettings(Settings):
    """Checkpoints and trackers of a run."""

    save_every: int = setting(
        50, "Optimiser or PPO steps between checkpoints.", "choice: a minute or two of work", ge=1
    )
    log_with: tuple[Literal["tensorboard", "wandb"], ...] = setting(
        (), "Trackers besides the metrics file.", "choice: none, nothing leaves the machine"
    )


class SftSettings(StageSettings):
    """Stage `sft`: supervised fine-tuning on demonstrations, loss on the completion's tokens only."""

    makes: ClassVar[str] = "model"
    kind: Literal["sft"] = "sft"
    model: str = setting(..., "A stage that makes a model, a folder or a Hub id.", "required", refers="model")
    data: str = setting(
        ...,
        "Demonstrations: a data name (`prompt` and `completion`, or `messages`), or a stage such as `best_of_n`.",
        "required",
        refers="demonstrations",
    )
    learn: Literal["last", "all"] = setting(
        "last",
        "For conversations: learn the completion only (of `messages`: the assistant's last turn), or all of its turns.",
        "choice: the answer that the row is about",
        counts="if_set",
    )
    num_epochs: int = setting(3, "Passes over the demonstrations.", "choice: small data", ge=1)
    num_sequences_per_step: int = setting(32, "Demonstrations in one optimiser step.", "choice", ge=1)
    lora: LoraSettings | None = setting(None, "Adapters, merged at the end; None: full fine-tuning.", "choice: full")
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
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "The optimiser.", "see its own settings")
    run: RunSettings = setting(RunSettings(), "Checkpoints and logs.", "see its own settings")


class RewardSettings(StageSettings):
    """Stage `reward`: a Bradley-Terry reward model on preference groups."""

    makes: ClassVar[str] = "reward"
    kind: Literal["reward"] = "reward"
    model: str = setting(
        ...,
        "Base model: a stage that makes a model, a folder or a Hub id; decoder or encoder.",
        "required",
        refers="model",
    )
    preferences: str = setting(
        ..., "A stage that makes preferences, or a data name with pairs.", "required", refers="preferences"
    )
    test_preferences: str | None = setting(
        None, "Further preferences for testing, besides the held-out share.", "choice", refers="preferences"
    )
    reference: str | None = setting(
        None,
        "A sample stage whose completions get mean score 0 and variance 1; None: the completions of the preferences.",
        "Ziegler et al. 2019, section 2: mean 0 and variance 1 on samples of the reference",
        refers="completions",
    )
    held_out: float = setting(0.1, "Share of the prompts kept for testing; 0: none.", "choice: a tenth", ge=0, lt=1)
    share_prompts: bool = setting(
        True,
        "Run a group's prompt through the model once for all its completions, if the model allows it.",
        "measured: same gradient in 0.34 to 1.01 of the time",
        counts="if_set",
    )
    num_epochs: int = setting(1, "Passes over the rankings.", "Ouyang et al. 2022, section 3.5: one epoch", ge=1)
    num_rankings_per_step: int = setting(
        16, "Rankings in one optimiser step; a ranking is never split.", "choice", ge=1
    )
    lora: LoraSettings | None = setting(
        LoraSettings(), "Adapters; None: full fine-tuning.", "choice: shares the policy's trunk"
    )
    pooling: Literal["last", "mean", "first"] | None = setting(
        None,
        "Position from which the score is read; None: last token for decoders, mean for encoders.",
        "choice: as pretrained",
    )
    likelihood: Literal["bradley_terry", "davidson", "plackett_luce"] = setting(
        "bradley_terry",
        "Model of the labels: single pairs, pairs with ties as an outcome (Davidson), or whole orders (Plackett-Luce).",
        "Ouyang et al. 2022, section 3.5: all pairs of a ranking",
    )
    length_control: bool = setting(
        False,
        "Add a length term to the score during training and drop it afterwards.",
        "choice: off; after the length term of Dubois et al. 2024 (arXiv 2404.04475)",
    )
    nuisance_learning_rate: float = setting(
        0.02, "Learning rate of the tie and length parameters.", "choice: single numbers can move fast", gt=0
    )
    fail_as_rejected: bool = setting(
        False,
        "Completions marked F lose against every other completion of their prompt.",
        "choice: off, F completions are removed",
    )
    score_l2: float = setting(0.0, "Weight of the mean squared score, which keeps scores near 0.", "choice: none", ge=0)
    soft_labels: bool = setting(False, "Learn the share of votes instead of the winner.", "choice: off")
    max_tokens: int | None = setting(
        None,
        "Longest prompt + completion, tokens; too_long decides about longer rows. None: the model's context.",
        "choice: the end of a dialogue decides",
    )
    too_long: Literal["refuse", "leave_out", "cut_prompt"] = setting(
        "cut_prompt",
        "Rows beyond max_tokens: stop with an error, leave them out, or cut their beginning.",
        "choice: the end of a dialogue decides, and the summary says how many were cut",
        counts="if_set",
    )
    num_kept_pairs: int = setting(
        8, "Held-out pairs whose numbers are kept while training; 0: none.", "choice", ge=0, counts="if_set"
    )
    max_record_mib: int = setting(
        128, "Most MiB of kept pairs; beyond, every second file is dropped.", "choice", ge=1, counts="never"
    )
    optimiser: OptimiserSettings = setting(OptimiserSettings(), "The optimiser.", "see its own settings")
    run: RunSettings = setting(RunSettings(), "Checkpoints and logs.", "see its own settings")

    @model_validator(mode="after")
    def _labels_fit_the_likelihood(self) -> RewardSettings:
        """Refuse soft labels for whole orders, which have no share of votes."""
        if self.soft_labels and self.likelihood == "plackett_luce":
            raise ValueError("soft_labels needs pairs, plackett_luce learns whole orders: choose one of them")
        return self


class TinySettings(StageSettings):
    """Stage `tiny`: a small base model from scratch, tokenizer included: a Llama that learns a text, or a random T5."""

    makes: ClassVar[str] = "model"
    kind: Literal["tiny"] = "tiny"
    text: str = setting(
        ...,
        "A data name whose `text` column is learned; for a T5, whose words (of `text`, or of `prompt` and "
        "`completion`) are its vocabulary.",
        "required",
        refers="data",
    )
    architecture: Literal["llama", "t5"] = setting(
        "llama",
        "`llama`: a decoder, trained on the text. `t5`: an encoder–decoder with random weights, for stage `sft`.",
        "choice: a decoder",
        counts="if_set",
    )
    most_words: int | None = setting(
        None,
        "Know only this many words, the most frequent ones; others are read as <unk>. None: all words.",
        "choice: no word is lost by default",
        ge=1,
        counts="if_set",
    )
    num_layers: int = setting(4, "Transformer layers.", "choice: about a million parameters", ge=1, le=1000)
    hidden_size: int = setting(128, "Width of the hidden states.", "choice: about a million parameters", ge=8)
    num_heads: int = setting(4, "Attention heads.", "choice: 32 dimensions per head", ge=1)
    context: int = setting(96, "Longest sequence, tokens; of a T5, longest prompt.", "choice: short answers", ge=8)
    num_steps: int = setting(450, "Optimiser steps.", "measured: about a minute of one core", ge=1)
    num_sequences_per_step: int = setting(
        32, "Texts in one step.", "measured: held-out loss 0.64 after 400,000 tokens, 0.67 with 64", ge=1
    )
    optimiser: OptimiserSettings = setting(
        OptimiserSettings(learning_rate=3e-3, warmup_share=0.02, tokens_per_micro_batch=1024),
        "The optimiser; small micro-batches stay in the cache.",
        "measured: 1,024 tokens are 1.4 times as fast as 4,096 on one core",
    )
    run: RunSettings = setting(RunSettings(save_every=200), "Checkpoints and logs.", "see its own settings")

    @model_validator(mode="after")
    def _t5_is_not_trained_here(self) -> TinySettings:
        """Refuse settings of training for a T5, which nothing would read."""
        unread = sorted(self.model_fields_set & {"num_steps", "num_sequences_per_step", "optimiser", "run"})
        if self.architecture == "t5" and unread:
            raise ValueError(f"{unread[0]} is for a `llama`: a T5 keeps its random weights here, and learns in `sft`")
        return self
