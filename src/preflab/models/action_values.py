"""The value of each next token, Q(s, a): its head, how it is saved, and a model whose logits are Q.

N tokens, H hidden, V vocabulary. The head reads the states of the value role, so Q and V share one set of weights.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from preflab.errors import PreflabError
from preflab.files import new_folder
from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.models.logit_path import head_of
from preflab.models.merge import merged_language_model
from preflab.models.role_files import fill_module, load_role, save_role
from preflab.models.role_output import spread
from preflab.models.trunk import Trunk
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.tensor_files import write_tensors

Q_HEAD = "q_head.safetensors"
TOLERANCE = 1e-4


class QHead(nn.Module):
    """Q(s, a) = (common + token_a) · state + common bias + token bias_a, with a target copy that follows slowly.

    All weights start at 0. A token that the data never hold keeps token_a = 0, so its Q is the common part, which is
    learned from the tokens that the data do hold: near their mean, and not 0, which might be far above them all.
    """

    target_weight: Tensor
    target_bias: Tensor

    def __init__(self, hidden_size: int, num_tokens: int) -> None:
        super().__init__()
        self.common = nn.Linear(hidden_size, 1)
        self.tokens = nn.Linear(hidden_size, num_tokens)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("target_weight", torch.zeros(num_tokens, hidden_size))
        self.register_buffer("target_bias", torch.zeros(num_tokens))

    def linear(self) -> tuple[Tensor, Tensor]:
        """(V, H) weight and (V,) bias of the linear map from a state to the Q of every token."""
        return self.tokens.weight + self.common.weight, self.tokens.bias + self.common.bias

    def outputs(self, states: Tensor, batch: TokenBatch) -> dict[str, Tensor]:
        """Fields of `RoleOutput` from the (N, H) states before a batch's completion tokens.

        Only the Q of the N tokens themselves is computed, never (N, V).
        """
        ids = batch.of_tokens(batch.completion_ids)
        q = (self.tokens.weight[ids] * states).sum(-1) + self.tokens.bias[ids] + self.common(states).squeeze(-1)
        with torch.no_grad():
            target = (self.target_weight[ids] * states).sum(-1) + self.target_bias[ids]
        return {"action_values": spread(q, batch), "target_action_values": spread(target, batch)}

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the target copy: target ← (1 − rate) · target + rate · head (Polyak averaging)."""
        weight, bias = self.linear()
        self.target_weight.lerp_(weight, rate)
        self.target_bias.lerp_(bias, rate)


def add_q_head(trunk: Trunk) -> QHead:
    """Add a Q head of zeros to a trunk with the value role, and return it.

    Raises:
        PreflabError: the model is an encoder–decoder, or its logits are not its head applied to its states.
    """
    if trunk.plain_because or trunk.family.reads_prompts_apart:
        raise PreflabError(
            f"action values on {type(trunk.model).__name__}: {trunk.plain_because or 'an encoder–decoder'}",
            "a decoder whose logits are its head applied to the last hidden states",
            "choose another model, or learn with ppo, grpo or dpo",
        )
    width = trunk.head("value").linear.in_features
    trunk.heads["q"] = QHead(width, head_of(trunk.language_model("reference")).weight.shape[0]).to(trunk.device)
    return q_head(trunk)


def q_head(trunk: Trunk) -> QHead:
    """The Q head of a trunk."""
    return cast(QHead, trunk.heads["q"])


def save_action_values(trunk: Trunk, folder: Path, *, base: str = "") -> None:
    """Save the Q head and, in `value/`, the value role with its head. The folder is written whole or not at all."""
    with new_folder(folder) as beside:
        save_role(trunk, "value", beside / "value", base=base)
        write_tensors(beside / Q_HEAD, q_head(trunk).state_dict())


def load_action_values(trunk: Trunk, folder: Path, *, base: str = "") -> None:
    """Load a saved value role with both heads into a trunk that has the role and was made from the same model.

    Raises:
        PreflabError: a file is missing or corrupted, was saved for another base, or does not fit.
    """
    load_role(trunk, "value", folder / "value", base=base)
    fill_module(q_head(trunk) if "q" in trunk.heads else add_q_head(trunk), folder / Q_HEAD)


@torch.no_grad()
def action_value_model(trunk: Trunk) -> Any:
    """A new model in the form of a language model, whose logits are the Q of every next token.

    It has the weights of the value role, float32 and adapters merged, and the Q head in place of the language-model
    head, so an engine can decode with it token by token. Its logits are no log-probabilities.

    Raises:
        PreflabError: its logits differ from the trunk's Q, because the architecture changes states before its head.
    """
    if trunk.lora is None:
        model = copy.deepcopy(trunk.language_model("reference")).float()
        trunk.family.without_head(model).load_state_dict(trunk.models["value"].state_dict())
    else:
        model = merged_language_model(trunk, "value")
    weight, bias = q_head(trunk).linear()
    head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    model.set_output_embeddings(head)
    _check(trunk, model)
    return model.requires_grad_(False).eval()


def _check(trunk: Trunk, model: Any) -> None:
    """Compare Q of the tokens of one short row."""
    num = min(len(q_head(trunk).target_bias), 8)
    row = TokenSequence((0,), tuple(range(num)))
    expected = trunk(trunk.collate([row]), ("value",))["value"].action_values
    logits = token_logits(family_of(model), model, [row], trunk.pad_id)
    ours = logits[torch.arange(num), torch.arange(num)]
    difference = (ours - expected[0]).abs().max().item()
    allowed = (TOLERANCE if not trunk.in_half_precision else 5e-2) * max(1.0, expected.abs().max().item())
    if not difference <= allowed:
        raise PreflabError(
            f"the logits of {type(model).__name__} differ by {difference:.1e} from the action values that were learned",
            f"a difference of at most {allowed:.1e}",
            "choose another model: this architecture changes its states before the head",
        )
