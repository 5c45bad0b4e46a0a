"""Exported folders open with transformers alone and say the same as the trained roles."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
)

from chat_templates import BY_NAME, byte_tokenizer
from preflab.errors import PreflabError
from preflab.models.export import export_language_model, export_policy, export_reward
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.models.role_files import save_role
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import join_rows
from tiny_models import VOCABULARY, tiny_model
from trunk_roles import learning_roles

LORA = LoraSettings(rank=3, alpha=6.0)
IDS = torch.tensor([[1, 5, 9, 11, 30, 8], [1, 40, 41, 2, 60, 61]])


def tokenizer(**changes: str) -> PreTrainedTokenizerFast:
    """One with as many words as the tiny models have rows."""
    words = " ".join(f"word{i}" for i in range(VOCABULARY - 4))
    made = build_tokenizer([words], context=64)
    for name, token in changes.items():
        setattr(made, name, token)
    return made


def shaken(trunk: Trunk) -> Trunk:
    """As if it had been trained: B is no longer 0, the head has a bias, a gain and an offset."""
    torch.manual_seed(0)
    with torch.no_grad():
        for role in learning_roles(trunk):
            for _, parameter in trunk.parameters_of(role):
                parameter.add_(0.2 * torch.randn_like(parameter))
        if "reward" in trunk.heads:
            trunk.head("reward").linear.bias.fill_(0.7)
            trunk.head("reward").gain.fill_(2.5)
            trunk.head("reward").offset.fill_(-1.25)
    return trunk


def policy_trunk(model: Any, tokens: Any) -> Trunk:
    return shaken(Trunk(model, tokens, lora=LORA, roles=("policy",)))


def unmerged_logits(trunk: Trunk, ids: torch.Tensor) -> torch.Tensor:
    with trunk.role("policy"), torch.no_grad():
        return trunk.language_model("policy")(input_ids=ids).logits


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "stories"])
def test_a_merged_policy_is_the_unmerged_one(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind == "stories":
        base: Path = request.getfixturevalue("stories_model")
    else:
        base = tmp_path / "base"
        tiny_model(kind).save_pretrained(base)
        tokenizer().save_pretrained(base)
    trunk = policy_trunk(load_causal_lm(base, dtype="float32"), load_tokenizer(base))
    save_role(trunk, "policy", tmp_path / "adapter")
    difference = export_policy(base, tmp_path / "adapter", tmp_path / "out")
    expected = unmerged_logits(trunk, IDS)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        found = opened(input_ids=IDS).logits
        untrained = load_causal_lm(base, dtype="float32")(input_ids=IDS).logits
    # In float64 merged and unmerged are the same; in float32 rounding is a small share of what the adapter changes.
    effect = (untrained - expected).abs().max().item()
    assert effect > 0.1
    assert (found - expected).abs().max() <= 1e-4 * effect
    assert difference <= 1e-4 * effect
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("word1 word2").input_ids
    assert not list((tmp_path / "out").glob("adapter*"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("lora", "named"), [(LORA, "eos"), (None, "eos"), (LORA, "other")])
def test_an_exported_policy_ends_its_turns_in_transformers(
    lora: LoraSettings | None, named: str, tmp_path: Path
) -> None:
    """The template ends turns with a token that neither the tokenizer nor the model's configuration calls an end."""
    tokens = byte_tokenizer(BY_NAME["gemma"])
    end, eos = tokens.convert_tokens_to_ids("<end_of_turn>"), tokens.eos_token_id
    model = build_model(tokens, num_layers=1, hidden_size=32, num_heads=2, context=64, seed=0)
    other = tokens.convert_tokens_to_ids("<start_of_turn>")
    model.generation_config = GenerationConfig(eos_token_id=eos if named == "eos" else other)
    trunk = Trunk(model, tokens, lora=lora, roles=("policy",))
    export_language_model(trunk, "policy", tmp_path / "out")
    written = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert set(written) == {eos, end} | ({other} if named == "other" else set())
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = tokens.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True,
                                     return_tensors="pt", return_dict=False)  # fmt: skip
    forced = LogitsProcessorList([Always(end)])
    found = opened.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5,
                            logits_processor=forced)  # fmt: skip
    assert found[0, ids.shape[1] :].tolist() == [end]


class Always(LogitsProcessor):  # type: ignore[misc]
    """The model wants to write one token again and again."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.full(scores.shape[:1], self.token), scores.shape[1]).float()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers
def test_an_adapter_that_peft_saved_is_merged_too(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    tiny_model("llama").save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    theirs = get_peft_model(load_causal_lm(tmp_path / "base", dtype="float32"), config)
    theirs.save_pretrained(tmp_path / "adapter")
    export_policy(tmp_path / "base", tmp_path / "adapter", tmp_path / "out")
    opened = load_causal_lm(tmp_path / "out", dtype="float32")
    with torch.no_grad():
        torch.testing.assert_close(opened(IDS).logits, theirs.eval()(IDS).logits, rtol=1e-5, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks transformers
def test_an_adapter_that_is_more_than_lora_is_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    tiny_model("llama").save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True)
    get_peft_model(load_causal_lm(tmp_path / "base", dtype="float32"), config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(PreflabError, match="use_dora = True"):
        export_policy(tmp_path / "base", tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_difference_is_an_error_and_leaves_the_former_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = policy_trunk(tiny_model("llama"), tokenizer())
    export_language_model(trunk, "policy", tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    # An export that forgets to merge.
    monkeypatch.setattr("preflab.models.export.merged_language_model", lambda trunk, role: tiny_model("llama"))
    with pytest.raises(PreflabError, match="differs from the trained one"):
        export_language_model(trunk, "policy", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def reward_trunk(kind: str, lora: LoraSettings | None, tokens: Any, model: Any = None) -> Trunk:
    return shaken(Trunk(model or tiny_model(kind), tokens, lora=lora, roles=("reward",)))


def rewards_of(trunk: Trunk, rows: list[tuple[int, ...]]) -> torch.Tensor:
    with torch.no_grad():
        rewards = [trunk(join_rows([TokenSequence(r[:1], r[1:])], 0), ("reward",))["reward"].rewards for r in rows]
    return torch.cat(rewards)


def padded(rows: list[tuple[int, ...]], pad_id: int, side: str) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    fills = [(pad_id,) * (width - len(row)) for row in rows]
    full = [fill + row if side == "left" else row + fill for row, fill in zip(rows, fills, strict=True)]
    marks = [(0,) * len(fill) + (1,) * len(row) for row, fill in zip(rows, fills, strict=True)]
    if side == "right":
        marks = [mark[::-1] for mark in marks]
    return {"input_ids": torch.tensor(full), "attention_mask": torch.tensor(marks)}


ROWS = [(1, 5, 6, 7, 8, 2), (1, 9, 2), (1, 50, 51, 52, 3)]


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "opt"])
def test_a_reward_model_opens_as_a_classifier(kind: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    trunk = reward_trunk(kind, lora, tokenizer())
    export_reward(trunk, tmp_path / "out")
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert opened.config.num_labels == 1
    # By hand: gain 2.5, bias 0.7, offset -1.25.
    assert opened.config.preflab_reward_bias == pytest.approx(2.5 * 0.7 - 1.25, abs=1e-6)
    expected = rewards_of(trunk, ROWS)
    assert expected.std() > 0.1
    for side in ("right",) if kind == "gpt2" else ("right", "left"):
        # GPT-2's classifier counts positions from the padding: it needs the right side, which the tokenizer pads.
        with torch.no_grad():
            logits = opened(**padded(ROWS, opened.config.pad_token_id, side)).logits[:, 0]
        assert logits + opened.config.preflab_reward_bias == pytest.approx(expected, abs=2e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").padding_side == "right"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padding_gets_a_token_that_ends_no_text(kind: str, tmp_path: Path) -> None:
    tokens = tokenizer(pad_token="</s>", unk_token="</s>")
    tokens.unk_token = tokens.eos_token
    trunk = reward_trunk(kind, LORA, tokens)
    export_reward(trunk, tmp_path / "out")
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert opened.config.pad_token_id not in (None, tokens.eos_token_id)
    assert opened.config.pad_token_id == AutoTokenizer.from_pretrained(tmp_path / "out").pad_token_id
    # The rows end with the end token; reading the token before it would give another score.
    with torch.no_grad():
        logits = opened(**padded(ROWS, opened.config.pad_token_id, "right")).logits[:, 0]
    assert logits + opened.config.preflab_reward_bias == pytest.approx(rewards_of(trunk, ROWS), abs=2e-5)


def test_a_vocabulary_without_room_gets_a_row_for_padding(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w2"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w2", eos_token="w2", unk_token="w2")
    trunk = reward_trunk("gpt2", LORA, tokens)
    export_reward(trunk, tmp_path / "out")
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert opened.config.pad_token_id == VOCABULARY
    assert opened.get_input_embeddings().num_embeddings == VOCABULARY + 1
    with torch.no_grad():
        logits = opened(**padded(ROWS, VOCABULARY, "right")).logits[:, 0]
    assert logits + opened.config.preflab_reward_bias == pytest.approx(rewards_of(trunk, ROWS), abs=2e-5)


def bert() -> BertModel:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return BertModel(config).eval()


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_an_encoder_opens_as_a_classifier(pooling: Any, lora: LoraSettings | None, tmp_path: Path) -> None:
    trunk = shaken(Trunk(bert(), tokenizer(), lora=lora, roles=("reward",), pooling=pooling))
    export_reward(trunk, tmp_path / "out")
    needs_code = pooling == "mean"
    opened = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", dtype=torch.float32, trust_remote_code=needs_code
    )
    assert type(opened).__name__ == ("PooledClassifier" if needs_code else "BertForSequenceClassification")
    with torch.no_grad():
        logits = opened(**padded(ROWS, opened.config.pad_token_id, "right")).logits[:, 0]
    assert logits + opened.config.preflab_reward_bias == pytest.approx(rewards_of(trunk, ROWS), abs=2e-5)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    trunk = policy_trunk(tiny_model("llama"), tokenizer())
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", full)
    with pytest.raises(PreflabError, match="could not be written"):
        export_language_model(trunk, "policy", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    shutil.rmtree(tmp_path)
