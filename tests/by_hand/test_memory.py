"""The memory arithmetic on made-up models, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.memory import activations
from preflab.memory.activations import kept_activations
from preflab.memory.arithmetic import CONTEXT, LIBRARIES, TABLES, estimate
from preflab.memory.choices import choose, is_auto
from preflab.memory.load import Lengths, Load, load_of, rows_per_step
from preflab.memory.model_sizes import ModelSizes
from preflab.memory.of_recipe import first_model
from preflab.memory.remedies import remedies
from preflab.settings.dpo import DpoSettings
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import RewardSettings, SftSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.recipe import STAGE_SETTINGS

MIB = 2**20


@pytest.fixture(autouse=True)
def torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holes that torch's products leave, on every processor."""
    monkeypatch.setattr(activations, "is_faster", lambda: False)


def sizes(**changes: Any) -> ModelSizes:
    """A made-up model: P = 1000, A = 16 · 10, L = 2, H = 10, I = 20, V = 100, K = 8."""
    fields: dict[str, Any] = {
        "num_parameters": 1000, "num_head_parameters": 1000, "linear_width": 10, "num_layers": 2, "hidden_size": 10,
        "intermediate_size": 20, "state_width": 8, "vocabulary": 100,
    }  # fmt: skip
    return ModelSizes(**fields | changes)


def llama(**changes: Any) -> Any:
    """A Llama on the meta device: H = 64, I = 96, L = 3, V = 50, four heads of 16, two of them for keys and values."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    fields: dict[str, Any] = {
        "vocab_size": 50, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**fields | changes))


def test_sizes_of_a_llama_by_hand() -> None:
    """Per layer: queries and output 64², keys and values 64 · 32, feed-forward 3 · 64 · 96, two norms of 64."""
    found = ModelSizes.of(llama())
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64
    assert found.num_parameters == 50 * 64 + 3 * layer + 64
    assert found.linear_width == 3 * (2 * 128 + 2 * 96 + 3 * 160)
    assert (found.tied, found.query_width, found.state_width, found.num_layers) == (True, 64, 2 * 32, 3)
    apart = ModelSizes.of(llama(tie_word_embeddings=False))
    assert apart.num_parameters == found.num_parameters + 50 * 64
    assert not apart.tied


def test_memory_of_adapters_on_one_base() -> None:
    """A = 160. A layer: x = 4 · 10 + 2 · 10 + 8 + 4 · 20 + 7 · 16 = 260 numbers; a block: 2 · 10 + 3 · 20 = 80.

    Alive are 4 · 50 · (2 · 260 + 80) = 120,000 bytes, and the pass leaves as many of holes. The copy that is written
    has the adapter and its gradient beside the 1000 weights.
    """
    found = estimate(sizes(), Load("sft", 1, 0, True, False, 50, several=False))
    assert found.parts == {
        "base": LIBRARIES,
        "weights": 4 * 1000 + 4 * 160,
        "optimiser": 8 * 160,
        "gradients": 4 * 160,
        "activations": 120_000 + 120_000,
        "head": 3 * 4 * 50 * 100 + 4 * 1000,
        "cache": 0,
        "writing": 4 * (1000 + 160 + 160),
    }
    assert found.phase == "learning"
    assert found.total == LIBRARIES + 4640 + 1280 + 240_000 + 64_000


def test_gradients_of_earlier_micro_batches_are_beside_activations() -> None:
    one, several = (
        estimate(sizes(), Load("sft", 1, 0, False, False, 50, several=several)).total for several in (False, True)
    )
    assert several - one == 4 * 1000


def test_memory_of_all_weights_counts_more_activations() -> None:
    """x = 6 · 10 + 2 · 10 + 8 + 4 · 20 = 168; holes are 0.6 of what passes; the head has a gradient; nothing is merged.

    4 · 50 · (2 · 168 + 80) = 83,200 bytes are alive, and 49,920 are holes.
    """
    found = estimate(sizes(), Load("dpo", 1, 1, False, False, 50))
    assert (found.parts["weights"], found.parts["optimiser"], found.parts["gradients"]) == (8000, 8000, 4000)
    assert found.parts["activations"] == 83_200 + 49_920
    assert found.parts["head"] == 3 * 4 * 50 * 100 + 4 * 1000 + 4 * 1000
    assert (found.parts["base"], found.parts["writing"]) == (LIBRARIES + TABLES, 0)


def test_memory_of_two_roles_in_half_precision_on_a_gpu() -> None:
    """The frozen base in 2 bytes, adapters in 4; layers keep 2 · 260 + 4 · 10 bytes; 64 rows of 30 tokens.

    30 keys need a bucket of 128. A captured step reads adapters rounded to 2 bytes, three of 160 weights; the buffers
    stay while the roles learn. 320 tokens of prompts are read before the buffers are filled.
    """
    load = Load("ppo", 2, 0, True, True, 10, rows=64, row_tokens=30, adapters=1, prompt_tokens=320)
    found = estimate(sizes(), load, accelerator=True)
    assert found.parts["base"] == CONTEXT
    assert found.parts["weights"] == 2 * 1000 + 3 * 4 * 160
    assert found.parts["optimiser"] == 2 * 8 * 160
    assert found.parts["activations"] == round(1.1 * 10 * (2 * 560 + 160))
    fixed = 2 * 64 * 128 * 2 * 8 + 3 * 4 * 64 * 100 + 2 * 3 * 160
    assert found.parts["cache"] == fixed + 2 * 320 * 2 * 8
    assert found.phase == "learning"
    learning = 14_080 + 3 * 4 * 10 * 100 + 2 * 4 * 160
    assert found.total == CONTEXT + 3920 + 2560 + fixed + learning


def test_captured_decoding_of_all_weights_keeps_rounded_copies() -> None:
    """W = 600 and the head's 1000 weights in 2 bytes; 9 rows take a bucket of 12, 130 keys one of 256."""
    load = Load("grpo", 1, 0, False, True, 10, rows=9, row_tokens=130)
    found = estimate(sizes(num_linear_parameters=600), load, accelerator=True)
    assert found.parts["cache"] == 2 * 12 * 256 * 2 * 8 + 3 * 4 * 12 * 100 + 2 * 1600
    assert found.total == CONTEXT + found.parts["weights"] + 8000 + found.parts["cache"] + max(
        round(1.1 * 10 * (2 * 556 + 160)) + 3 * 4 * 1000 + 4000 + 4000, 4000 + round(1.1 * 10 * (556 + 160))
    )


def test_on_a_processor_nothing_of_decoding_stays() -> None:
    """4 bytes · 9 rows · 130 tokens · 2 layers · 8, three distributions of 100 for each row, a copy of the head."""
    load = Load("grpo", 1, 0, False, False, 10, rows=9, row_tokens=130)
    found = estimate(sizes(), load)
    assert found.parts["cache"] == 4 * 9 * 130 * 2 * 8 + 3 * 4 * 9 * 100 + 4000
    assert found.phase == "sampling"
    holes = round(0.6 * 4 * 10 * (2 * 168 + 80))
    assert found.total == LIBRARIES + TABLES + 4000 + 8000 + holes + found.parts["cache"]


def test_all_weights_in_half_precision_have_a_rounded_copy() -> None:
    found = estimate(sizes(), Load("sft", 1, 1, False, True, 50))
    assert found.parts["weights"] == 4 * 1000 + 2 * 1000 + 2 * 1000  # trained, rounded by autocast, the reference
    assert found.parts["activations"] == 50 * (2 * (2 * 168 + 220) + 160) + 24_960  # 0.6 · 50 · 2 · (2 · 168 + 80)


def test_checkpointing_keeps_the_inputs_of_layers_and_one_layer() -> None:
    """Every tensor of the 120,000 bytes is still made: 0.85 of them stay as holes."""
    found = estimate(sizes(), Load("reward", 1, 0, True, False, 50, checkpointing=True))
    assert found.parts["activations"] == 4 * 50 * (2 * 10 + 260 + 80) + 102_000
    assert (found.parts["head"], found.parts["writing"]) == (0, 0)  # a reward model has no head and is not merged


def test_fewer_holes_stay_where_onednn_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "is_faster", lambda: True)
    once = estimate(sizes(), Load("reward", 1, 0, True, False, 50))
    again = estimate(sizes(), Load("reward", 1, 0, True, False, 50, checkpointing=True))
    full = estimate(sizes(), Load("reward", 1, 0, False, False, 50))
    assert once.parts["activations"] == 120_000 + 72_000  # 0.6 · 120,000
    assert again.parts["activations"] == 4 * 50 * (2 * 10 + 260 + 80) + 60_000  # 0.5 · 120,000
    by_mkl = 0.6 / 0.45
    monkeypatch.setattr(activations, "is_faster", lambda: False)
    alike = estimate(sizes(), Load("reward", 1, 0, False, False, 50)).parts["activations"]
    alive = kept_activations(sizes(), Load("reward", 1, 0, False, False, 50))
    assert alike - alive == pytest.approx(by_mkl * (full.parts["activations"] - alive), abs=1)


def test_half_precision_leaves_the_holes_of_torchs_products(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load("reward", 1, 0, True, True, 50)
    by_mkl = estimate(sizes(), load).parts["activations"]
    monkeypatch.setattr(activations, "is_faster", lambda: True)
    assert estimate(sizes(), load).parts["activations"] == by_mkl


def test_a_further_role_adds_fewer_holes_than_the_first() -> None:
    found = estimate(sizes(), Load("ppo", 2, 0, True, False, 50))
    assert found.parts["activations"] == 120_000 + 198_000  # 1.65 · 120,000


def test_the_last_role_has_no_gradients_beside_its_activations() -> None:
    """Of two roles in one micro-batch the first has left 4 · 1000 bytes when the second is computed."""
    first, both = (
        estimate(sizes(), Load("ppo", 2, 0, False, False, 50, several=several)).total for several in (False, True)
    )
    assert both - first == 4 * 1000


def test_the_last_block_is_beside_all_gradients() -> None:
    """With checkpointing 50 tokens keep 2 · 10 numbers more than a block does, fewer than 100,000 gradients."""
    model = sizes(num_parameters=100_000)
    found = estimate(model, Load("reward", 1, 0, False, False, 50, checkpointing=True, several=False))
    assert found.phase == "updating"
    last, holes = 4 * 50 * (168 + 80), 49_920
    assert found.total == LIBRARIES + TABLES + 400_000 + 800_000 + holes + 400_000 + last


def test_holes_stay_while_the_merged_copy_is_made() -> None:
    """The copy of 1,000,000 weights and of the adapter with its gradient fills a quarter of 102,000 bytes."""
    model = sizes(num_parameters=1_000_000)
    found = estimate(model, Load("sft", 1, 0, True, False, 50, checkpointing=True, several=False))
    assert found.phase == "writing"
    always = LIBRARIES + 4_000_000 + 640 + 1280 + 102_000
    assert found.total == always + 640 + 4_000_000 + 1280 - 25_500


def test_a_model_that_only_samples_is_read_twice() -> None:
    """The weights file is mapped a second time while its id is computed, on a CPU."""
    model, load = sizes(num_parameters=10**6), Load("sample", 0, 0, False, False, 0, rows=1, row_tokens=10)
    found = estimate(model, load)
    assert (found.phase, found.total) == ("reading", LIBRARIES + 8 * 10**6)
    assert estimate(model, load, accelerator=True).phase == "sampling"


def test_ilql_samples_with_two_models_at_the_end() -> None:
    """Two caches of 4 · 9 · 130 · 2 · 8 bytes, five distributions and two copies of the head, beside the written model.

    The optimiser is gone by then; 0.25 of the holes are filled.
    """
    found = estimate(sizes(), Load("ilql", 1, 0, True, False, 10, rows=9, row_tokens=130))
    assert found.parts["cache"] == 2 * 4 * 9 * 130 * 2 * 8 + 5 * 4 * 9 * 100 + 2 * 4000
    holes = 4 * 10 * (2 * 260 + 80)
    always = LIBRARIES + 4000 + 640 + 8000 + holes
    assert found.phase == "sampling"
    assert found.total == always + found.parts["cache"] + 4 * 1160 + 4000 + 8000 - holes // 4


def test_experts_keep_their_rows_and_their_summed_weights() -> None:
    """Two experts per token: 2 · 2 · 10 numbers more. Adapters on 300 expert weights keep 4 · 300 bytes of sums.

    Norms of queries and keys keep 10 + 4 numbers.
    """
    model = sizes(num_experts_per_token=2, num_expert_parameters=300, normed_states=True)
    lora = estimate(model, Load("reward", 1, 0, True, False, 50)).parts["activations"]
    assert lora == 2 * (4 * 50 * (2 * (260 + 40 + 14) + 80) + 1200)
    full = estimate(model, Load("reward", 1, 0, False, False, 50)).parts["activations"]
    assert full == round(1.6 * 4 * 50 * (2 * (168 + 40 + 14) + 80))
    half = estimate(model, Load("reward", 1, 0, True, True, 50), accelerator=True).parts["activations"]
    assert half == round(1.1 * (50 * (2 * (2 * 314 + 40 + 28) + 160) + 600))


def test_a_token_passes_one_part_of_an_encoder_decoder() -> None:
    """Of 2 + 2 layers a token passes 2. Cross-attention keeps 2 · 10 + 2 · 10 numbers more, `gelu_new` 3 · 20."""
    model = sizes(num_layers=4, num_decoder_layers=2, cross_attention=True, composed_activation=True)
    found = estimate(model, Load("reward", 1, 0, True, False, 50))
    assert found.parts["activations"] == 2 * 4 * 50 * (2 * (260 + 40 + 60) + 80)
    sampling = estimate(model, Load("sample", 0, 0, False, False, 0, rows=9, row_tokens=130))
    assert sampling.parts["cache"] == 4 * 9 * 130 * 2 * 8 + 3 * 4 * 9 * 100 + 4000


def test_sizes_of_experts_and_of_an_encoder_decoder_are_read() -> None:
    """Two layers of 4 experts with 2 · 12 · 16 and 16 · 12 weights; a T5 with 3 decoder layers and `gelu_new`."""
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM, T5Config, T5ForConditionalGeneration

    experts = Qwen3MoeConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, moe_intermediate_size=12, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=50, d_model=16, d_ff=24, d_kv=8, num_heads=2, num_layers=2, num_decoder_layers=3,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    with torch.device("meta"):
        found, parts = ModelSizes.of(Qwen3MoeForCausalLM(experts)), ModelSizes.of(T5ForConditionalGeneration(t5))
    assert (found.num_experts_per_token, found.normed_states, found.num_decoder_layers) == (2, True, 0)
    assert found.num_expert_parameters == 2 * 4 * 3 * 12 * 16
    assert (parts.num_layers, parts.num_decoder_layers, parts.num_cached_layers) == (5, 3, 3)
    assert (parts.composed_activation, parts.cross_attention, parts.normed_states) == (True, True, False)
    assert (found.not_counted, len(parts.not_counted)) == ((), 1)


def test_a_q_head_is_trained_and_copied() -> None:
    """H · V = 1000 weights are trained beside the adapter; a copy of 1000 follows them."""
    found = estimate(sizes(), Load("ilql", 1, 0, True, False, 50))
    assert found.parts["weights"] == 4 * 1000 + 4 * 160 + 8 * 1000
    assert (found.parts["optimiser"], found.parts["gradients"]) == (8 * 1160, 4 * 1160)
    assert found.parts["writing"] == 4 * 1000 + 8 * 1000


def test_load_of_a_recipes_ppo() -> None:
    """Rows of 20 + 12 tokens, 64 of them: 31 fit into 1,000. With all weights the reward has a base of its own."""
    given = {"model": "m", "prompts": "p", "rewards": [{"model": "r"}], "decoding": {"max_new_tokens": 12}}
    given |= {"optimiser": {"tokens_per_micro_batch": 1000}}
    lora = load_of("ppo", PpoSettings(**given), Lengths(20, 0))
    assert lora == Load(
        "ppo", 2, 0, True, False, 31 * 32, rows=64, row_tokens=32, adapters=1, several=True, prompt_tokens=1280
    )
    full = load_of("ppo", PpoSettings(**given, lora=None), Lengths(20, 0))
    assert (full.models, full.adapters, full.lora) == (2, 0, False)  # the reference and the reward model


def test_load_of_a_small_step_is_the_step() -> None:
    """Six pairs of rows of 30 tokens are 360, less than the budget; `max_tokens` shortens them to 25."""
    settings = RewardSettings(model="m", preferences="p", num_rankings_per_step=6, share_prompts=False)
    load = load_of("reward", settings, Lengths(20, 10))
    assert (load.tokens, load.several, load.rows) == (360, False, 0)
    assert load_of("reward", settings.model_copy(update={"max_tokens": 25}), Lengths(20, 10)).tokens == 300


def test_pairs_share_their_prompts() -> None:
    """A prompt of 20 and two completions of 10 are 40 tokens, 60 if each has its own."""
    settings = DpoSettings(model="m", preferences="p", num_groups_per_step=3)
    assert load_of("dpo", settings, Lengths(20, 10)).tokens == 3 * 40
    apart = settings.model_copy(update={"share_prompts": False})
    assert load_of("dpo", apart, Lengths(20, 10)).tokens == 3 * 60
    ranking = RewardSettings(model="m", preferences="p", num_rankings_per_step=3)
    assert load_of("reward", ranking, Lengths(20, 10)).tokens == 3 * 40


def test_groups_share_their_prompts_as_far_as_a_row_goes() -> None:
    """Eight completions of 10 and a prompt of 40 are 120 tokens; in rows of 70 three share it, and each counts 24."""
    given: dict[str, Any] = {
        "model": "m", "prompts": "p", "rewards": [{"model": "r"}], "num_completions_per_prompt": 8,
        "num_prompts_per_step": 1, "decoding": {"max_new_tokens": 10},
    }  # fmt: skip
    for kind, settings in (("grpo", GrpoSettings), ("online_dpo", OnlineDpoSettings)):
        assert load_of(kind, settings(**given), Lengths(40, 0)).tokens == 120
        short = settings(**given, optimiser={"tokens_per_micro_batch": 70})
        assert load_of(kind, short, Lengths(40, 0)).tokens == 2 * 24  # 10 + 40 / 3 rounded up; two fit into 70
        assert load_of(kind, settings(**given, share_prompts=False), Lengths(40, 0)).tokens == 8 * 50


@pytest.mark.parametrize("kind", ["sft", "reward", "rating", "classifier", "dpo", "ppo", "grpo", "online_dpo", "ilql"])
def test_every_learning_stage_has_rows_per_step(kind: str) -> None:
    settings = STAGE_SETTINGS[kind]
    required = {name: "x" for name, field in settings.model_fields.items() if field.is_required()}
    rewards = {"rewards": [{"model": "x"}]} if "rewards" in settings.model_fields else {}
    prompts = {"prompts": "x"} if "prompts" in settings.model_fields else {}
    assert rows_per_step(kind, settings.model_validate(required | rewards | prompts | {"model": "x"})) > 0


def test_remedies_are_those_that_help_most_effective_first() -> None:
    """States in 8 bits save 5.97 bytes of each of 4000 trained weights; 1000 are the embedding's and stay."""
    load, model = Load("sft", 1, 0, False, False, 2048), sizes(num_parameters=5000)
    now = estimate(model, load).total
    found = {one.change: one.total for one in remedies(model, load)}
    assert found["optimiser.states: 8bit"] == now - 23880
    assert "lora: {base: nf4}" not in found
    assert {"gradient_checkpointing: true", "tokens_per_micro_batch: 1024"} <= found.keys()
    wide = sizes(num_parameters=10**9)
    adapters = {one.change: one.total for one in remedies(wide, load)}["lora: {rank: 16}"]
    assert adapters == estimate(wide, Load("sft", 1, 0, True, False, 2048)).total
    assert list(found.values()) == sorted(found.values())
    assert max(found.values()) < now


def test_a_base_in_4_bits_and_states_in_8_are_counted() -> None:
    """W = 600 weights of 4 bytes become 0.52; 160 adapter weights have states of 2.03 bytes in place of 8."""
    settings = SftSettings(model="m", data="d", lora={"base": "nf4"}, optimiser={"states": "8bit"})
    small = load_of("sft", settings, Lengths(20, 10))
    assert (small.four_bit, small.eight_bit) == (True, True)
    plain = load_of("sft", SftSettings(model="m", data="d", lora={}), Lengths(20, 10))
    assert (plain.four_bit, plain.eight_bit) == (False, False)
    model = sizes(num_linear_parameters=600)
    before, after = (estimate(model, load).parts for load in (plain, small))
    assert before["weights"] - after["weights"] == 2088
    assert (before["optimiser"], after["optimiser"]) == (1280, 325)
    assert "lora: {base: nf4}" in {one.change for one in remedies(model, plain)}
    assert ModelSizes.of(llama()).num_linear_parameters == 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)


def auto(**changes: Any) -> SftSettings:
    """SFT settings with an optimiser that leaves things to memory."""
    return SftSettings(model="m", data="d", lora={}, optimiser=changes)


def test_auto_takes_the_largest_micro_batch_that_fits() -> None:
    """Activations and holes of a token: 2 · 4 · 600 = 4,800 bytes; its 3 · 4 · 100 of logits stay small."""
    settings = auto(tokens_per_micro_batch="auto")
    assert is_auto(settings)
    assert not is_auto(auto(tokens_per_micro_batch=4096))

    def chosen(tokens: int) -> int:
        needed = estimate(sizes(), Load("sft", 1, 0, True, False, tokens)).total
        return choose(sizes(), "sft", settings, Lengths(10, 10), round(needed / 0.85) + 2).tokens

    assert [chosen(tokens) for tokens in (4096, 2048, 600, 512)] == [4096, 2048, 512, 512]


def test_auto_checkpoints_before_micro_batches_get_too_small() -> None:
    settings = auto(tokens_per_micro_batch="auto", gradient_checkpointing="auto")
    plenty = choose(sizes(), "sft", settings, Lengths(10, 10), 2**40)
    assert (plenty.tokens, plenty.checkpointing, plenty.fits) == (4096, False, True)
    free = round(estimate(sizes(), Load("sft", 1, 0, True, False, 1023)).total / 0.85)
    short = choose(sizes(), "sft", settings, Lengths(10, 10), free)
    assert (short.tokens, short.checkpointing) == (1024, True)
    none = choose(sizes(), "sft", settings, Lengths(10, 10), 1)
    assert (none.tokens, none.checkpointing, none.fits) == (512, True, False)


def test_auto_for_one_setting_keeps_the_other() -> None:
    settings = auto(tokens_per_micro_batch=3000, gradient_checkpointing="auto")
    assert choose(sizes(), "sft", settings, Lengths(10, 10), 2**40).tokens == 3000


def test_settings_refuse_other_words_and_no_tokens() -> None:
    for wrong in ({"tokens_per_micro_batch": "automatic"}, {"tokens_per_micro_batch": 0}):
        with pytest.raises(ValueError, match="tokens_per_micro_batch"):
            auto(**wrong)
    with pytest.raises(ValueError, match="gradient_checkpointing"):
        auto(gradient_checkpointing="maybe")


def test_a_stages_sizes_are_those_of_the_first_model_before_it() -> None:
    stages = {"sft": auto().model_copy(update={"model": "./base"}), "next": auto().model_copy(update={"model": "sft"})}
    assert first_model(stages, "next", lambda name: None) == "./base"


def test_a_folder_without_a_configuration_is_refused(tmp_path: Any) -> None:
    with pytest.raises(PreflabError, match="config"):
        ModelSizes.read(tmp_path)
