"""A trained reward model as a scorer, and its folder on disk.

reward_model.json                   base (reference and weights hash), pooling, gain, offset, adapter settings, context
adapter_*.safetensors or weights.safetensors, head.safetensors, role.json      see `models.role_files`
config.json, tokenizer files        with full fine-tuning only, to build the trunk again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

from preflab.errors import PreflabError
from preflab.files import new_folder, read_json, write_json
from preflab.models.adapter_targets import AdapterTargets, read_targets
from preflab.models.bodies import make_body, name_body
from preflab.models.families import WRITERS
from preflab.models.kinds import check_reads, kind_of, names_language_model
from preflab.models.language_model import open_reader
from preflab.models.loading import load_tokenizer, read_config, torch_dtype
from preflab.models.role_files import base_storage, load_role, save_role
from preflab.models.trunk import Pooling, Trunk
from preflab.rewards.rankings import Encoder
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence, token_budget_batches
from preflab.training.protocols import Scores, ScoringItem
from preflab.training.tensor_files import tensor_names
from preflab.training.token_limits import NO_LIMIT

CARD = "reward_model.json"


@dataclass(frozen=True)
class RewardModelCard:
    """The content of reward_model.json."""

    base: str
    """Place of the base: a path relative to the card's folder, or a Hub id; "" if the folder holds all weights."""
    weights_hash: str
    """Hash of the base's weights; an adapter is refused on other weights."""
    causal: bool
    """True: a decoder, scored at the last token; False: an encoder."""
    pooling: str
    gain: float
    offset: float
    """normalised = gain · raw + offset."""
    max_tokens: int
    lora: dict[str, Any] | None
    format: int = 1
    stops: tuple[int, ...] = ()
    """Tokens that stop the sampler of its base model; they are used to find the ends of turns."""
    body: str = ""
    """With full fine-tuning, the class of the model, see `models.bodies`."""
    apart: bool = False
    """True: an encoder–decoder, whose encoder reads the prompt."""
    max_prompt: int = NO_LIMIT
    max_completion: int = NO_LIMIT

    @classmethod
    def read(cls, folder: Path) -> RewardModelCard:
        """The card of a reward model's folder.

        Raises:
            PreflabError: there is no card, or it lacks a field.
        """
        content = read_json(folder / CARD)
        try:
            return cls(**content | {"stops": tuple(content.get("stops", ()))})
        except TypeError as error:
            raise PreflabError(
                f"{folder / CARD}: {error}", "the fields a reward stage writes", "train the reward model again"
            ) from error

    def encoder(self, tokenizer: Any) -> Encoder:
        """The encoder that makes the model's token ids."""
        limits = (self.max_prompt, self.max_completion)
        return Encoder(tokenizer, self.causal, self.max_tokens, self.stops, self.apart, *limits)


def save_reward_model(trunk: Trunk, folder: Path, *, base: str, weights_hash: str, encoder: Encoder) -> None:
    """Write the reward role of a trunk as a reward model's folder; the folder is complete or not written at all.

    Args:
        trunk: with a reward role, normalised.
        folder: the folder to write.
        base: place of the adapter's base: a path relative to `folder`, a Hub id or `package:…`.
        weights_hash: of the base, see `base_hash`.
        encoder: makes its token ids.

    Raises:
        PreflabError: the disk is full; an existing folder is unchanged.
    """
    head = trunk.head("reward")
    card = RewardModelCard(
        base=base if trunk.lora else "",
        weights_hash=weights_hash,
        causal=encoder.causal,
        pooling=trunk.pooling,
        gain=float(head.gain),
        offset=float(head.offset),
        max_tokens=encoder.max_tokens,
        lora=trunk.lora.model_dump(mode="json") if trunk.lora else None,
        stops=encoder.stops,
        body="" if trunk.lora else name_body(trunk.models["reward"]),
        apart=encoder.apart,
        max_prompt=encoder.max_prompt,
        max_completion=encoder.max_completion,
    )
    with new_folder(folder) as beside:
        save_role(trunk, "reward", beside, base=weights_hash if trunk.lora else "")
        if trunk.lora is None:
            config: Any = trunk.models["reward"].config
            config.save_pretrained(beside)
            encoder.tokenizer.save_pretrained(beside)
        write_json(beside / CARD, asdict(card))


def load_reward_model(
    folder: Path,
    load_base: Callable[[RewardModelCard], tuple[Any, Any]] | None = None,
    *,
    dtype: str = "float32",
    trunk: Trunk | None = None,
    trunk_hash: str = "",
) -> tuple[Trunk, Encoder]:
    """Load a reward model: the trunk with its frozen reward role, and the encoder that makes its token ids.

    Args:
        folder: a reward model's folder.
        load_base: returns (model, tokenizer); None loads the base from the place that the card names.
        dtype: precision of a newly loaded trunk; adapters and heads are always float32.
        trunk: a LoRA trunk that the adapter joins as role "reward" instead of loading a second base (R15).
        trunk_hash: `weights_hash` of that trunk's base.

    Raises:
        PreflabError: the folder has no reward model, or one for another base; a head or tensor is missing.
    """
    card = RewardModelCard.read(folder)
    if trunk is None:
        model, tokenizer = load_base(card) if load_base else _load_base(folder, card, dtype)
        lora = LoraSettings(**card.lora) if card.lora else None
        targets = _saved_targets(folder, card, model)
        pooling = cast(Pooling, card.pooling)
        trunk = Trunk(model, tokenizer, lora=lora, roles=("reward",), pooling=pooling, targets=targets, compute=dtype)
    else:
        _check_base(folder, card, trunk_hash)
        targets = _saved_targets(folder, card, trunk.model)
        trunk.add_role("reward", lora=LoraSettings(**(card.lora or {})), targets=targets)
        trunk.pooling = cast(Pooling, card.pooling)
    load_role(trunk, "reward", folder, base=card.weights_hash if card.lora else "")
    trunk.freeze("reward")
    return trunk, card.encoder(trunk.tokenizer)


def shares_base(folder: Path, trunk_hash: str, storage: str = "as_loaded") -> bool:
    """Whether a reward model is an adapter on a base, so that it can join a trunk on this base.

    Args:
        folder: the reward model's folder.
        trunk_hash: `weights_hash` of the trunk's base.
        storage: how the trunk stores the base (`lora.base`); a quantised base is another base.
    """
    card = RewardModelCard.read(folder)
    if card.lora is None or not card.causal:
        return False
    return card.weights_hash == trunk_hash and base_storage({"lora": card.lora}) == storage


def shares_experts(folder: Path, trunk: Trunk) -> bool:
    """Whether a reward model's adapter is on the same expert weights as a trunk's adapters, or on no experts.

    Adapters on experts wrap the weights in one order, which all adapters of a model must share.
    """
    targets = _saved_targets(folder, RewardModelCard.read(folder), trunk.model)
    experts = set(targets.parameters) if targets else set()
    others = [set(other.parameters) for other in trunk.targets.values() if other.parameters]
    return not experts or all(experts == other for other in others)


def _saved_targets(folder: Path, card: RewardModelCard, model: Any) -> AdapterTargets | None:
    """The layers of the saved adapter; None with full fine-tuning."""
    if card.lora is None:
        return None
    names = tensor_names(folder / "adapter_model.safetensors")
    return read_targets(model, read_json(folder / "adapter_config.json"), names)


def is_decoder(ref: Path | str) -> bool:
    """True for a language model with its head, False for a model without one, such as an encoder.

    Raises:
        PreflabError: there is no configuration, or it is that of an encoder–decoder.
    """
    config = read_config(ref)
    check_reads(ref, config)
    return kind_of(config) in WRITERS and names_language_model(config)


def _load_base(folder: Path, card: RewardModelCard, dtype: str) -> tuple[Any, Any]:
    """(model, tokenizer) into which the saved role is loaded; with full fine-tuning its weights are still random."""
    if card.lora is None:
        weights = tensor_names(folder / "weights.safetensors")
        model = make_body(card.body, read_config(folder), torch_dtype(dtype), weights)
        return model, load_tokenizer(folder, writes=False)
    beside = (folder / card.base).resolve()
    ref = beside if beside.is_dir() else card.base
    opened = open_reader(ref, dtype=dtype, causal=card.causal)
    _check_base(folder, card, opened.base_hash())
    return opened.model, opened.tokenizer


def _check_base(folder: Path, card: RewardModelCard, base_hash: str) -> None:
    if card.lora is None or card.weights_hash != base_hash:
        raise PreflabError(
            f"{folder}: an adapter for the base {card.weights_hash}" if card.lora else f"{folder}: a whole model",
            f"an adapter for the base {base_hash}",
            f"restore the base it was trained on ({card.base or 'none'}), or train the reward model again",
        )


@torch.no_grad()
def reward_scores(trunk: Trunk, sequences: Sequence[TokenSequence], tokens_per_batch: int) -> torch.Tensor:
    """Normalised rewards (B,) float32 of sequences on the CPU, computed in micro-batches within a token budget."""
    scores = torch.zeros(len(sequences))
    for indices in token_budget_batches([len(s) for s in sequences], tokens_per_batch):
        batch = trunk.collate([sequences[i] for i in indices])
        rewards = trunk(batch, ("reward",))["reward"].rewards
        scores[indices] = rewards.float().cpu()
    return scores


class RewardModelScorer:
    """A `Scorer` from a trunk with a reward role.

    Args:
        trunk: see `load_reward_model`.
        encoder: makes the reward model's token ids.
        name: the term's name in the metrics.
        takes_tokens: whether the policy's tokenizer equals the reward model's, so that sampled token ids are scored;
            otherwise the text is encoded.
        tokens_per_batch: tokens in one forward pass; never changes the scores.
    """

    def __init__(
        self, trunk: Trunk, encoder: Encoder, name: str, *, takes_tokens: bool, tokens_per_batch: int = 4096
    ) -> None:
        self.trunk, self.encoder, self.name = trunk, encoder, name
        self.takes_tokens, self.tokens_per_batch = takes_tokens, tokens_per_batch

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Normalised rewards (B,) of the items, one term.

        Raises:
            PreflabError: a score is not finite.
        """
        total = reward_scores(self.trunk, [self.sequence(item) for item in items], self.tokens_per_batch)
        if not bool(total.isfinite().all()):
            bad = items[int((~total.isfinite()).nonzero()[0])]
            raise PreflabError(
                f"reward model {self.name} scored {total[~total.isfinite()][0]}; completion {bad.text[:80]!r}",
                "a finite number per completion",
                "train it again in float32 or with a lower learning rate",
            )
        return Scores(total, {self.name: total})

    def sequence(self, item: ScoringItem) -> TokenSequence:
        """The sequence to score: the sampled token ids if the tokenizers are the same, else the encoded text."""
        if self.takes_tokens and item.completion_ids:
            return self.encoder.encode_sampled(item.prompt, item.prompt_ids, item.completion_ids, item.policy_tokens)
        return self.encoder.encode_written(item.prompt, item.completion)


def same_tokenizer(one: Any, other: Any) -> bool:
    """Whether two tokenizers encode text and conversations alike: vocabulary, special ids, template and an example."""
    return (
        one.get_vocab() == other.get_vocab()
        and getattr(one, "chat_template", None) == getattr(other, "chat_template", None)
        and one.all_special_ids == other.all_special_ids
        and one("A word , an answer .")["input_ids"] == other("A word , an answer .")["input_ids"]
    )
