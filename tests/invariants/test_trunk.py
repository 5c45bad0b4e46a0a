"""The trunk: chunked equals plain, roles do not leak into each other, what is saved is what is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from preflab.errors import PreflabError
from preflab.models.logit_path import why_not_chunked
from preflab.models.role_files import init_value_from_reward, load_role, save_role
from preflab.models.role_output import RoleOutput
from preflab.models.trunk import Role, Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenBatch, TokenSequence, token_budget_batches
from preflab.training.joined_rows import join_rows
from tiny_worlds import tiny_llama, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
ALL: tuple[Role, ...] = ("policy", "reference", "value")


def batch(pad_id: int = 0) -> TokenBatch:
    """Three rows of differing prompts and completions."""
    return join_rows(
        [TokenSequence((3, 1), (2, 0, 1)), TokenSequence((3,), (1,)), TokenSequence((3, 2, 2), (0, 1))], pad_id
    )


def moved(trunk: Trunk, seed: int = 1) -> Trunk:
    """The trunk with everything that learns pushed away from its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, p in trunk.named_parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn(p.shape, generator=generator))
    return trunk


def gradients(trunk: Trunk, role: str) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for _, p in trunk.parameters_of(role)]


def close(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-5, rtol=1e-4) for a, b in zip(one, other, strict=True))


def test_a_loss_of_a_model_that_caps_its_logits_goes_the_plain_way() -> None:
    trunk, tokens = moved(tiny_trunk(lora=LORA)), batch()
    losses, slopes = [], []
    for reason in (None, "its logits are capped"):
        trunk.plain_because = reason
        said = trunk(tokens, ("policy",), loss=lambda said, part: (said.logps**2).sum())["policy"]
        trunk.zero_grad()
        said.loss.backward()
        losses.append(said.loss.item())
        slopes.append(gradients(trunk, "policy"))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert close(*slopes)
    assert any(slope.abs().max() > 0.1 for slope in slopes[0])


@pytest.mark.parametrize("lora", [None, LORA])
def test_trunk_equals_the_model_itself(lora: LoraSettings | None) -> None:
    trunk, model = tiny_trunk(lora=lora), tiny_trunk().models["policy"]
    tokens = batch()
    logps = trunk(tokens, ("policy",), temperature=0.5)["policy"].logps
    for row, (prompt, completion) in enumerate([((3, 1), (2, 0, 1)), ((3,), (1,)), ((3, 2, 2), (0, 1))]):
        own = (model(torch.tensor([[*prompt, *completion]])).logits[0] / 0.5).log_softmax(-1)
        for t, token in enumerate(completion):
            assert logps[row, t].item() == pytest.approx(own[len(prompt) - 1 + t, token].item(), abs=1e-5)
    assert (logps[~tokens.completion_mask] == 0).all()


@pytest.mark.parametrize("lora", [None, LORA])
def test_padding_and_batch_change_nothing(lora: LoraSettings | None) -> None:
    trunk = moved(tiny_trunk((*ALL, "reward"), lora=lora))
    roles: tuple[Role, ...] = (*ALL, "reward")
    together = trunk(batch(), roles, entropy=True, exact_kl=True)
    other_pad = trunk(batch(pad_id=2), roles, entropy=True, exact_kl=True)
    alone = trunk(join_rows([TokenSequence((3,), (1,))], 0), roles, entropy=True, exact_kl=True)

    def row(output: RoleOutput, number: int) -> list[float]:
        parts = [getattr(output, name) for name in ("logps", "entropy", "kl", "values", "last_values", "rewards")]
        return [(p[number] if p.dim() == 1 else p[number, 0]).item() for p in parts if p is not None]

    for role in roles:
        assert row(alone[role], 0) == pytest.approx(row(together[role], 1), abs=1e-5)
        assert row(other_pad[role], 1) == pytest.approx(row(together[role], 1), abs=1e-6)


def small_models() -> dict[str, Callable[[], Any]]:
    """One model per way of holding dropout: modules of torch's, numbers handed to attention, whole layers left out."""
    sizes = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    opt = {"ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 16, "pad_token_id": 0}
    return {
        "modules": lambda: GPT2LMHeadModel(GPT2Config(
            vocab_size=8, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.9, attn_pdrop=0.9
        )),
        "numbers": lambda: LlamaForCausalLM(LlamaConfig(
            **sizes, intermediate_size=32, attention_dropout=0.9, attn_implementation="eager"
        )),
        "layers": lambda: OPTForCausalLM(OPTConfig(
            **sizes, **opt, dropout=0.9, attention_dropout=0.9, layerdrop=0.9
        )),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["modules", "numbers", "layers"])
def test_dropout_is_off_even_in_training_mode(kind: str) -> None:
    """Gradient checkpointing needs training mode; with dropout, ratios and KL would be noise."""
    torch.manual_seed(0)
    model = small_models()[kind]().eval()
    with torch.no_grad():
        expected = model(input_ids=batch().input_ids).logits
        trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",)).train()
        with trunk.role("policy"):
            found = trunk.language_model("policy")(input_ids=batch().input_ids).logits
    assert torch.allclose(found, expected, atol=1e-6)


def test_temperature_divides_the_logits_of_policy_and_reference_and_no_value() -> None:
    trunk, rows = moved(tiny_trunk(ALL, lora=LORA)), batch()
    mask = rows.completion_mask
    with torch.no_grad():
        said = trunk(rows, ALL, temperature=0.5, entropy=True, exact_kl=True)
        plain = trunk(rows, ALL)
        log_p, log_q = (_twice_as_sharp(trunk, rows, role) for role in ("policy", "reference"))
    targets = rows.completion_ids[mask][:, None]
    for role, expected in (("policy", log_p), ("reference", log_q)):
        assert torch.allclose(said[role].logps[mask], expected.gather(1, targets)[:, 0], atol=1e-4)
    assert torch.allclose(said["policy"].entropy[mask], -(log_p.exp() * log_p).sum(1), atol=1e-4)
    assert torch.allclose(said["policy"].kl[mask], (log_p.exp() * (log_p - log_q)).sum(1), atol=1e-4)
    assert torch.equal(said["value"].values, plain["value"].values)


def _twice_as_sharp(trunk: Trunk, rows: TokenBatch, role: Role) -> Tensor:
    """(N, V) log-probabilities before the completion tokens from the model's own logits, doubled: temperature ½."""
    with trunk.role(role):
        logits = trunk.language_model(role)(input_ids=rows.input_ids).logits
    return (2 * logits[rows.completion_mask.nonzero()[:, 0], rows.state_index[rows.completion_mask]]).log_softmax(-1)


def test_adapters_off_is_the_base_and_roles_do_not_leak() -> None:
    base = tiny_trunk()(batch(), ("policy",))["policy"].logps
    trunk = moved(tiny_trunk(lora=LORA))
    said = trunk(batch(), ALL, exact_kl=True)
    assert torch.equal(said["reference"].logps, base.detach())
    assert not torch.allclose(said["policy"].logps, base, atol=1e-3)
    assert (said["policy"].kl[batch().completion_mask] > 0).all()
    assert trunk.switch.active is None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_joint_gradient_is_the_separate_ones(checkpointing: bool) -> None:
    """One forward and backward for two roles, and a switch of role in between, change no gradient."""

    def policy_loss(said: dict[str, RoleOutput]) -> Tensor:
        return (said["policy"].logps * 0.3 + said["policy"].kl).sum()

    trunk = moved(tiny_trunk(lora=LORA))
    if checkpointing:
        trunk.enable_gradient_checkpointing()
    policy_loss(trunk(batch(), ("policy", "reference"), exact_kl=True)).backward()
    trunk(batch(), ("value",))["value"].values.square().sum().backward()
    separate = [gradients(trunk, role) for role in ("policy", "value")]
    assert all(any(g.abs().max() > 1e-3 for g in part) for part in separate)

    trunk.zero_grad()
    said = trunk(batch(), ALL, exact_kl=True)
    loss = policy_loss(said) + said["value"].values.square().sum()
    with trunk.role("value"):
        loss.backward()
    assert close(gradients(trunk, "policy"), separate[0])
    assert close(gradients(trunk, "value"), separate[1])


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("role", ["policy", "value", "reward"])
def test_saved_roles_come_back_and_wrong_ones_are_refused(
    lora: LoraSettings | None, role: Role, tmp_path: Path
) -> None:
    roles: tuple[Role, ...] = (role, "reference")
    trunk = moved(tiny_trunk(roles, lora=lora))
    save_role(trunk, role, tmp_path / "role", base="model-a")
    fresh = tiny_trunk(roles, lora=lora, seed=0)
    said = [t(batch(), (role,))[role] for t in (trunk, fresh)]
    first, second = (next(p for p in (s.logps, s.values, s.rewards) if p is not None) for s in said)
    assert not torch.allclose(first, second, atol=1e-3)
    load_role(fresh, role, tmp_path / "role", base="model-a")
    again = fresh(batch(), (role,))[role]
    third = next(p for p in (again.logps, again.values, again.rewards) if p is not None)
    assert torch.equal(first, third)
    with pytest.raises(PreflabError, match="trained on the base model-a"):
        load_role(fresh, role, tmp_path / "role", base="model-b")
    if role != "policy":
        (tmp_path / "role" / "head.safetensors").unlink()
        with pytest.raises(PreflabError, match=r"head\.safetensors"):
            load_role(fresh, role, tmp_path / "role")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_peft_opens_a_saved_adapter(tmp_path: Path) -> None:
    from peft import PeftModel

    trunk = moved(tiny_trunk(("policy",), lora=LORA))
    save_role(trunk, "policy", tmp_path / "policy")
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight.mul_(8.0)
    opened = PeftModel.from_pretrained(model, tmp_path / "policy")
    tokens = join_rows([TokenSequence((3, 1), (2, 0, 1))], 0)
    ours = trunk(tokens, ("policy",))["policy"].logps[0]
    theirs = opened(tokens.input_ids).logits[0].log_softmax(-1)[[1, 2, 3], [2, 0, 1]]
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_value_role_started_from_the_reward_says_what_it_says(lora: LoraSettings | None) -> None:
    trunk = moved(tiny_trunk(("policy", "value", "reward"), lora=lora))
    trunk.head("reward").gain.fill_(3.0)
    trunk.head("reward").offset.fill_(-1.0)
    assert init_value_from_reward(trunk, trunk)
    rows = [TokenSequence((3, 1), (2, 0)), TokenSequence((3,), (1,))]
    rewards = trunk(join_rows(rows, 0), ("reward",))["reward"].rewards
    longer = [TokenSequence(s.prompt_ids, (*s.completion_ids, 0)) for s in rows]
    values = trunk(join_rows(longer, 0), ("value",))["value"].values
    assert values[0, 2].item() == pytest.approx(rewards[0].item(), abs=1e-5)
    assert values[1, 1].item() == pytest.approx(rewards[1].item(), abs=1e-5)


def test_conv1d_models_and_plain_paths() -> None:
    """GPT-2 carries adapters in Conv1D layers; a model that scales its logits falls back to its own and says why."""
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    trunk = moved(Trunk(gpt2, SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",)))
    assert trunk.plain_because is None
    said = trunk(batch(), ("policy", "reference"), exact_kl=True)
    assert (said["policy"].kl[batch().completion_mask] > 0).all()
    trunk.plain_because = "to compare"
    plain = trunk(batch(), ("policy", "reference"), exact_kl=True)
    assert torch.allclose(said["policy"].kl, plain["policy"].kl, atol=1e-5)
    assert torch.allclose(said["policy"].logps, plain["policy"].logps, atol=1e-5)


def test_a_scaled_model_does_not_fit_the_chunked_path(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_llama()
    assert why_not_chunked(model) is None
    model.config.final_logit_softcapping = 30.0
    assert "final_logit_softcapping" in str(why_not_chunked(model))

    class Scaled(LlamaForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            out = super().forward(*args, **kwargs)
            out.logits = out.logits * 1.5
            return out

    scaled = Scaled(LlamaConfig(**tiny_llama().config.to_diff_dict())).eval()
    assert "differ" in str(why_not_chunked(scaled))
    # As the reference of a policy that does fit: both then go through their own logits, and it is said.
    caplog.clear()
    trunk = Trunk(tiny_llama(), SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",), reference=scaled)
    assert "full logits" in caplog.text
    rows = batch()
    with torch.no_grad():
        said = trunk(rows, ("policy", "reference"))["reference"].logps[0, 0]
        own = scaled(input_ids=rows.input_ids).logits[0, rows.prompt_lengths[0] - 1].log_softmax(-1)
    assert said.item() == pytest.approx(own[rows.completion_ids[0, 0]].item(), abs=1e-5)


def test_reference_of_another_family_is_refused() -> None:
    with pytest.raises(PreflabError, match="of the family encoder for a model of the family decoder"):
        Trunk(tiny_llama(), SimpleNamespace(pad_token_id=0), lora=LORA, roles=("policy",), reference=tiny_llama().model)


def test_token_budget_batches_keep_every_row_within_the_budget() -> None:
    lengths = [5, 1, 9, 3, 3, 7, 20]
    batches = token_budget_batches(lengths, 12)
    assert sorted(i for part in batches for i in part) == list(range(7))
    assert all(len(part) * max(lengths[i] for i in part) <= 12 or len(part) == 1 for part in batches)


def test_no_prompt_is_refused() -> None:
    with pytest.raises(PreflabError, match="without a prompt token"):
        join_rows([TokenSequence((), (1,))], 0)


def test_stories_model_chunked(stories_model: Path) -> None:
    """The real pretrained model's own logits are its head's."""
    assert why_not_chunked(AutoModelForCausalLM.from_pretrained(stories_model, dtype=torch.float32)) is None
