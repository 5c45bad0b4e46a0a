"""One base model in several roles: policy, reference, value, reward (R15).

With LoRA the base is loaded once: `policy`, `value` and `reward` are adapters on it, `reference` is the base with
adapters off. In full fine-tuning every role has its own copy. All outputs come from `forward`, because wrappers such as
DDP and FSDP2 wrap no other method.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from preflab.models.adapter_targets import AdapterTargets, find_targets
from preflab.models.adapters import add_adapter
from preflab.models.bitsandbytes_import import import_before_peft
from preflab.models.chunked import TokenLoss, TokenStatistics, token_loss, token_statistics
from preflab.models.compiled_blocks import CompiledBlocks
from preflab.models.cpu_linear import use_onednn
from preflab.models.dropout import switch_dropout_off
from preflab.models.families import at_tokens
from preflab.models.four_bit import quantise_base
from preflab.models.half_adapters import needs_own_layers, sum_before_rounding
from preflab.models.half_passes import check_half_passes
from preflab.models.heads import ScalarHead
from preflab.models.kinds import check_same_family, family_of
from preflab.models.logit_path import head_of, plain_statistics, why_not_chunked
from preflab.models.packing import RowLayout, may_pack
from preflab.models.precision import HALF, autocast, half_precision, round_frozen
from preflab.models.recomputed_blocks import recompute_blocks
from preflab.models.role_output import RoleOutput, spread
from preflab.models.roles import RoleSwitch
from preflab.models.rotary import RowLengths
from preflab.models.text_model import freeze_towers
from preflab.models.varlen import attention_for
from preflab.models.vocabulary import fitting_vocabulary, num_embedding_rows
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import PackingName
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.kept_tokens import KeptTokens

Role = Literal["policy", "reference", "value", "reward"]
Pooling = Literal["last", "mean", "first"]
logger = logging.getLogger(__name__)
HEADED: tuple[Role, ...] = ("value", "reward")


class Trunk(nn.Module):
    """A base model, its roles and their heads.

    Args:
        model: a causal model, or an encoder (no language-model head) for the reward role only.
        tokenizer: the model's tokenizer; its padding token fills batches.
        lora: adapter settings; None gives every role its own full copy. `lora.base` may quantise the model in place.
        roles: the roles that are trained or evaluated. With LoRA "reference" need not be listed.
        seed: seeds adapters and heads.
        pooling: the state that the reward head reads: of the last token, the mean over all tokens, or of the first.
        zero_value: whether the value head starts at zero.
        reference: a separate reference model; None: the base with adapters off, or a copy.
        targets: the layers and weights of a saved adapter; None: those that `lora.target_modules` selects.
        compute: the precision of every role's passes; None or float32: the type of the weights. Half precision uses
            autocast, so trained weights have to be float32 (`models.precision`).
        packing: whether sequences are joined without padding (`models.packing`).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        lora: LoraSettings | None,
        roles: tuple[Role, ...],
        seed: int = 0,
        pooling: Pooling = "last",
        zero_value: bool = True,
        reference: Any | None = None,
        targets: AdapterTargets | None = None,
        compute: str | torch.dtype | None = None,
        packing: PackingName = "off",
    ) -> None:
        super().__init__()
        import_before_peft()
        self.tokenizer = tokenizer
        self.autocast_dtype = half_precision(compute)
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
        self.lora, self.pooling = lora, pooling
        self.vocabulary = fitting_vocabulary(model, tokenizer)
        self.family = family_of(model)
        if reference is not None:
            check_same_family(model, reference)
            fitting_vocabulary(reference, tokenizer)
        self.causal = model.get_output_embeddings() is not None
        switch_dropout_off(model)
        check_half_passes(self.family, model, self.autocast_dtype)
        self.plain_because = why_not_chunked(model) if self.causal else None
        model.requires_grad_(lora is None)
        if lora is None:
            freeze_towers(model)
        elif lora.base == "nf4":
            quantise_base(model)
        self.models = nn.ModuleDict({"base": model} if lora else self._copies(model, roles))
        if reference is not None:
            switch_dropout_off(reference)
            self.plain_because = self.plain_because or why_not_chunked(reference)
            self.models["reference"] = reference.requires_grad_(False)
        self.row_lengths = RowLengths(self.models.values())
        half, plain = self.autocast_dtype, self.plain_because is not None
        self.layout = RowLayout(self.family, self.models.values(), self.pad_id, packing, half, with_logits=plain)
        if self.autocast_dtype is not None and "reference" in self.models:
            round_frozen(self.models["reference"], self.autocast_dtype)
        if self.plain_because:
            logger.warning(
                "%s: full logits are computed, slower and with more memory: %s",
                type(model).__name__,
                self.plain_because,
            )
        self.heads = nn.ModuleDict()
        self.targets: dict[str, AdapterTargets] = {}
        self._found: dict[LoraSettings, AdapterTargets] = {}
        self.switch = RoleSwitch(model)
        self.blocks = CompiledBlocks()
        for number, role in enumerate(roles):
            self.add_role(role, seed=seed + number, zero=zero_value and role == "value", targets=targets)
        use_onednn(self.models)

    def _copies(self, model: Any, roles: tuple[Role, ...]) -> dict[str, Any]:
        """Role → model for full fine-tuning: the first role gets the model, others copies. Freezes the reference."""
        copies: dict[str, Any] = {role: copy.deepcopy(model) if number else model for number, role in enumerate(roles)}
        for role, other in copies.items():
            if role == "reference":
                other.requires_grad_(False)
            elif role in HEADED:
                copies[role] = self.family.without_head(other)
        return copies

    def add_role(
        self,
        role: Role,
        *,
        lora: LoraSettings | None = None,
        seed: int = 0,
        zero: bool = False,
        targets: AdapterTargets | None = None,
    ) -> None:
        """Add a role's adapter and head to the trunk. In full fine-tuning its copy was made when the trunk was created.

        Args:
            role: the role.
            lora: the role's adapter settings; None: the trunk's.
            seed: seeds adapter and head.
            zero: whether the head starts at zero.
            targets: the layers and weights of a saved adapter; None: those that the adapter settings select.
        """
        if role == "reference":
            return
        if self.lora is not None:
            lora = lora or self.lora
            self.targets[role] = targets or self._find_targets(lora)
            add_adapter(self.model, role, lora, seed, self.targets[role])
            if needs_own_layers(self.autocast_dtype):
                sum_before_rounding(self.model)
            use_onednn(self.model)
            self.switch.refresh()
        if role in HEADED:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.heads[role] = ScalarHead(self._state_width(role), zero=zero).to(self.device)

    def _state_width(self, role: Role) -> int:
        """H, measured by a forward pass: `hidden_size` in a configuration may be another width."""
        model: Any = self.models[role] if self.lora is None else self.model
        with torch.no_grad():
            batch = self.family.collate([TokenSequence((0, 1), (2, 3))], self.pad_id).to(self.device)
            inputs = self.family.inputs(batch, model.dtype)
            return int(self.family.states(model, inputs).shape[-1])

    def _find_targets(self, lora: LoraSettings) -> AdapterTargets:
        """The layers and weights that carry an adapter with these settings; logs once which layers do not."""
        if lora not in self._found:
            self._found[lora] = find_targets(self.model, lora)
            if left_out := self._found[lora].describe_left_out():
                logger.warning("%s: no adapter on %s", type(self.model).__name__, left_out)
        return self._found[lora]

    def freeze(self, role: str) -> None:
        """Exclude a role's adapter or weights and its head from training; it can still be evaluated."""
        for _, parameter in self.parameters_of(role):
            parameter.requires_grad_(False)

    @property
    def model(self) -> Any:
        """The base model; in full fine-tuning the model of the first role."""
        return self.models["base"] if "base" in self.models else next(iter(self.models.values()))

    @property
    def device(self) -> torch.device:
        """The device of the base model."""
        return next(self.model.parameters()).device

    @property
    def in_half_precision(self) -> bool:
        """Whether passes are computed in 16 bits, where sampler and trainer may round the same number differently."""
        return (self.autocast_dtype or self.model.dtype) in HALF

    def collate(self, sequences: Sequence[TokenSequence]) -> TokenBatch:
        """A batch on the model's device, packed or in the layout that the model's family reads.

        Raises:
            PreflabError: the family cannot read one of the sequences.
        """
        return self.layout.collate(sequences, self.device, packs=may_pack(self.pooling, self.row_lengths))

    def language_model(self, role: Role) -> Any:
        """The model of a role. Call it inside `self.role(role)`, which activates its adapter and sets its precision."""
        return self.models[role] if role in self.models else self.models["base"]

    def head(self, role: str) -> ScalarHead:
        """The scalar head of the value or reward role."""
        return cast(ScalarHead, self.heads[role])

    @contextmanager
    def role(self, role: Role) -> Iterator[None]:
        """Activate a role inside the block ("reference": adapters off), and compute in the trunk's precision."""
        adapter = nullcontext() if self.lora is None else self.switch.use(None if role == "reference" else role)
        with autocast(self.autocast_dtype, self.device), adapter:
            yield

    def parameters_of(self, role: str) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of a role, including its head, that require a gradient."""
        marks = (f".lora_A.{role}.", f".lora_B.{role}.", f"models.{role}.", f"heads.{role}.")
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad and any(m in name for m in marks)]

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass, each block under the role of its forward pass."""
        for model in self.models.values():
            recompute_blocks(model, self.switch.checkpointed)

    def forward(
        self,
        batch: TokenBatch,
        roles: tuple[Role, ...],
        *,
        temperature: float = 1.0,
        entropy: bool = False,
        entropy_gradient: bool = True,
        exact_kl: bool = False,
        loss: TokenLoss | None = None,
        whole_loss: bool = False,
        policy_states: Tensor | None = None,
    ) -> dict[str, RoleOutput]:
        """Compute each role's output for the completions of a batch.

        Args:
            batch: right-padded rows; see `training.batches`.
            roles: the roles to evaluate. The log-probabilities of "reference" have no gradient.
            temperature: divides the logits of policy and reference alike; values are not divided.
            entropy: whether to compute the policy's entropy.
            entropy_gradient: whether a loss will contain the entropy; False saves memory and a matrix product.
            exact_kl: whether to compute the exact KL(policy ‖ reference) per position, which evaluates the reference.
            loss: a loss of the policy's statistics, computed while the logits are in memory. It is called for each
                chunk; its slices index completion tokens row by row, in the order of `batch.of_tokens`.
            whole_loss: whether the loss needs all tokens of the batch at once; it is then called once.
            policy_states: (N, H) the policy's states before the completion tokens, if the sampler kept them. They
                replace the policy's forward pass and carry no gradient. Ignored if the model's own logits are needed.
        """
        outputs: dict[str, RoleOutput] = {}
        with_reference = exact_kl or "reference" in roles
        if "policy" in roles or with_reference:
            statistics = functools.partial(
                self._statistics,
                temperature=temperature,
                entropy=entropy,
                entropy_gradient=entropy_gradient,
                loss=loss if "policy" in roles else None,
                whole_loss=whole_loss,
            )
            outputs |= self._language(batch, "policy" in roles, with_reference, statistics, policy_states)
        if "value" in roles:
            hidden, head = self._hidden(batch, "value"), self.head("value")
            before_tokens = at_tokens(hidden, batch).float()
            last_values = head(hidden[batch.last_places].float())
            of_tokens = cast(Any, self.heads["q"]).outputs(before_tokens, batch) if "q" in self.heads else {}
            outputs["value"] = RoleOutput(
                values=spread(head(before_tokens), batch), last_values=last_values, **of_tokens
            )
        if "reward" in roles:
            outputs["reward"] = RoleOutput(rewards=self.head("reward")(self.pooled(batch)))
        return outputs

    def pooled(self, batch: TokenBatch, role: Role = "reward") -> Tensor:
        """(B, H) float32 states that the reward head reads: of the last or first token, or the mean of real tokens."""
        hidden = self._hidden(batch, role).float()
        if self.pooling == "first":
            return hidden[:, 0]
        if self.pooling == "mean":
            mask = batch.state_mask[:, :, None]
            return torch.where(mask, hidden, 0.0).sum(1) / mask.sum(1)
        return hidden[batch.last_places]

    def _language(
        self,
        batch: TokenBatch,
        with_policy: bool,
        with_reference: bool,
        statistics: Callable[..., tuple[Tensor | None, TokenStatistics]],
        known: Tensor | None,
    ) -> dict[str, RoleOutput]:
        """Log-probabilities of policy and reference, entropy and exact KL, on completion tokens only.

        `known` holds the policy's states if the sampler kept them; they replace the policy's forward pass.
        """
        targets = batch.of_tokens(batch.completion_ids)
        if self.vocabulary is not None:
            self.vocabulary.check(batch.largest_id, num_embedding_rows(self.model))
        reference = None
        if with_reference:
            with torch.no_grad():
                reference = self.token_states(batch, "reference")
        if not with_policy:
            _, stats = statistics(reference, targets, "reference", None)
            return {"reference": RoleOutput(logps=spread(stats.logps, batch), entropy=spread(stats.entropy, batch))}
        known = None if self.plain_because else known
        states = self.token_states(batch, "policy") if known is None else known.to(targets.device)
        loss, stats = statistics(states, targets, "policy", reference, batch.kept)
        policy = RoleOutput(
            logps=spread(stats.logps, batch),
            entropy=spread(stats.entropy, batch),
            kl=spread(stats.kl, batch) if with_reference else None,
            loss=loss,
        )
        reference_said = {"reference": RoleOutput(logps=spread(stats.ref_logps, batch))} if with_reference else {}
        return {"policy": policy, **reference_said}

    def _statistics(
        self,
        states: Tensor,
        targets: Tensor,
        role: Role,
        reference: Tensor | None,
        kept: KeptTokens | None = None,
        *,
        temperature: float,
        entropy: bool,
        entropy_gradient: bool,
        loss: TokenLoss | None,
        whole_loss: bool,
    ) -> tuple[Tensor | None, TokenStatistics]:
        if self.plain_because:
            plain = plain_statistics(
                states, targets, temperature=temperature, entropy=entropy, ref_logits=reference, kept=kept
            )
            return None if loss is None else loss(plain, slice(0, len(targets))), plain
        head = head_of(self.language_model(role))
        wanted: dict[str, Any] = {
            "temperature": temperature,
            "entropy": entropy,
            "entropy_gradient": entropy_gradient,
            "ref_hidden": reference,
            "ref_head": None if reference is None else head_of(self.language_model("reference")),
            "vocabulary": self.vocabulary,
            "kept": kept,
        }
        if loss is None:
            return None, token_statistics(states, head, targets, **wanted)
        return token_loss(states, head, targets, loss=loss, whole=whole_loss, **wanted)

    def token_states(self, batch: TokenBatch, role: Role) -> Tensor:
        """(N, H) hidden states before the completion tokens, or (N, n) logits if the model's own logits are needed.

        Under autocast some models return float32 states. They are rounded, because the head computes in the precision.
        """
        if not self.plain_because:
            states = self.family.read_by_head(self.language_model(role), at_tokens(self._hidden(batch, role), batch))
            return states if self.autocast_dtype is None else states.to(self.autocast_dtype)
        logits = at_tokens(self._asked(batch, role, self.family.logits), batch)
        return logits if self.vocabulary is None else self.vocabulary.cut_logits(logits)

    def _hidden(self, batch: TokenBatch, role: Role) -> Tensor:
        """(rows, L, H) last hidden states of a role's model."""
        return self._asked(batch, role, self.family.states)

    def _asked(self, batch: TokenBatch, role: Role, ask: Callable[[Any, dict[str, Any]], Tensor]) -> Tensor:
        """(rows, L, …) states or logits of a role's model; `ask` is the family's method that computes them."""
        model = self.language_model(role)
        with self.role(role), self.blocks.passes(), attention_for(model, batch):
            inputs = self.family.inputs(batch, self.autocast_dtype or model.dtype)
            if not self.row_lengths or self.row_lengths.longest is not None:
                return ask(model, inputs)
            return self.row_lengths.in_groups(batch.lengths, inputs, lambda chosen: ask(model, chosen))
