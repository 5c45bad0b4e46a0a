"""What `preflab init` finds and estimates, against numbers worked out by hand."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from architectures import architecture, config_class, small_config
from preflab.errors import PreflabError
from preflab.memory import free
from preflab.memory.model_sizes import feed_forward_width, largest, linear_width, state_width
from preflab.starter import machine
from preflab.starter.data_look import look_at_data
from preflab.starter.lengths import Spread, measure_lengths
from preflab.starter.model_look import look_at_model, round_number
from preflab.starter.reward_file import answer_functions, are_numbers
from starter_world import demonstrations, pairs, save_encoder, save_model, write_rows

MIB = 2**20


def test_a_model_is_described_from_its_files(tmp_path: Path) -> None:
    """Llama, H = 16, I = 32, two heads of 8, one of them for keys and values; 256 bytes and four marks as tokens."""
    folder = save_model(tmp_path / "chat", "chatml", num_key_value_heads=1)
    found = look_at_model(str(folder))
    vocabulary = 256 + 5  # <pad>, <s>, <|endoftext|>, <|im_start|>, <|im_end|>
    layer = 16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 32 + 2 * 16
    assert found.sizes.num_parameters == 2 * vocabulary * 16 + layer + 16  # head and embedding apart
    assert found.sizes.num_head_parameters == vocabulary * 16
    assert found.sizes.linear_width == 32 + 2 * 24 + 32 + 3 * 48
    assert (found.sizes.state_width, found.sizes.vocabulary, found.context) == (2 * 8, vocabulary, 192)
    assert (found.causal, found.has_template, found.dtype) == (True, True, "float32")
    assert set(found.stops) == {"<|endoftext|>", "<|im_end|>"}
    plain = look_at_model(str(save_model(tmp_path / "plain", "no template")))
    assert (plain.has_template, plain.stops) == (False, ("</s>",))
    assert not look_at_model(str(save_encoder(tmp_path / "bert"))).causal


def test_experts_are_counted_one_by_one_and_by_what_a_token_goes_through() -> None:
    """Mixtral, H = 16, I = 32, four experts of which two are chosen: gate and up in one weight (4, 64, 16)."""
    import torch
    from transformers import AutoModelForCausalLM, MixtralConfig

    config = MixtralConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert linear_width(model, model.get_output_embeddings()) == 4 * (16 + 16) + 4 * (64 + 16) + 4 * (16 + 32)
    config.moe_intermediate_size = 24
    assert feed_forward_width(config) == 2 * 24


@pytest.mark.parametrize("name", ["gpt2", "mamba", "gemma4", "qwen3_moe", "llava", "xlnet", "bert"])
def test_sizes_are_found_whatever_a_configuration_calls_them(name: str) -> None:
    arch = architecture(name)
    config = small_config(config_class(arch.model_type), arch.changes)
    text = config.get_text_config()
    assert (state_width(text) > 0, feed_forward_width(text) >= 32) == (True, True)
    assert largest(text, "max_position_embeddings") in (0, 128)


def test_the_type_of_weights_is_that_of_the_file(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = save_model(tmp_path / "m", "no template")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    assert look_at_model(str(folder)).dtype == "bfloat16"
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(PreflabError, match="not a complete safetensors file"):
        look_at_model(str(folder))


def test_a_model_that_is_not_here_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(PreflabError) as refused:
        look_at_model("owner/model-nobody-fetched")
    assert "HF_HUB_OFFLINE is set" in refused.value.found
    assert "hf download owner/model-nobody-fetched" in refused.value.do
    (tmp_path / "model").mkdir()
    with pytest.raises(PreflabError) as refused:
        look_at_model(f"{tmp_path}/modle")
    assert refused.value.do == f"check the path; near it: {tmp_path}/model"


@pytest.mark.parametrize(
    ("num", "said"), [(999, "999"), (35_600, "35.6 thousand"), (1_000_000, "1 million"), (7_240_000_000, "7.2 billion")]
)
def test_numbers_are_said_in_words(num: int, said: str) -> None:
    assert round_number(num) == said


def test_lengths_are_those_of_the_rendered_conversation(tmp_path: Path) -> None:
    """ChatML in bytes: <|im_start|>, `user⏎`, 12 characters, <|im_end|>, ⏎, <|im_start|>, `assistant⏎` = 31 tokens;
    ` On its way 3.` loses its space and gains the end of the turn: 13 + 1 tokens."""
    model = look_at_model(str(save_model(tmp_path / "chat", "chatml")))
    data = look_at_data(str(write_rows(tmp_path / "pairs.jsonl", pairs())), chat=True)
    found = measure_lengths(data, model)
    assert found.prompts == Spread(31, 31, 31)
    assert found.completions is not None
    assert (found.completions.longest, found.max_new_tokens) == (14, 16)
    assert found.rows is not None
    assert found.rows.longest == 45
    assert (found.num_too_long, found.num_without_room, found.num_measured) == (0, 0, 24)


def test_lengths_of_texts_have_no_template_around_them(tmp_path: Path) -> None:
    """12 characters; ` On its way 3.` and the end token are 15."""
    model = look_at_model(str(save_model(tmp_path / "plain", "no template")))
    data = look_at_data(str(write_rows(tmp_path / "pairs.jsonl", pairs())), chat=False)
    found = measure_lengths(data, model)
    assert (found.prompts.longest, found.completions and found.completions.longest) == (12, 15)


def test_rows_beyond_the_context_are_counted(tmp_path: Path) -> None:
    """A context of 50: rows of 45 tokens fit, the one of 31 + 41 does not, and a prompt of 40 leaves no room for 16."""
    model = look_at_model(str(save_model(tmp_path / "chat", "chatml", context=50)))
    rows = pairs()
    rows[3]["chosen"] = "x" * 40
    rows[4]["prompt"] = "Where is 04, my dear?"
    data = look_at_data(str(write_rows(tmp_path / "p.jsonl", rows)), chat=True)
    found = measure_lengths(data, model)
    assert found.num_too_long == 2  # 31 + 41, and 40 + 14
    assert found.left_out(data, "dpo", None) == (2, "row")
    assert found.left_out(data, "dpo", 30) == (24, "row")  # both completions of a pair are one row
    assert (found.max_new_tokens, found.num_without_room) == (16, 1)


def test_conversations_need_a_template(tmp_path: Path) -> None:
    model = look_at_model(str(save_model(tmp_path / "plain", "no template")))
    data = look_at_data(str(write_rows(tmp_path / "d.jsonl", demonstrations())), chat=False)
    with pytest.raises(PreflabError, match="refuses [0-9]+ of [0-9]+ rows"):
        measure_lengths(data, model)


def test_a_spread_is_read_off_the_sorted_numbers() -> None:
    assert Spread.of(list(range(100, 0, -1))) == Spread(51, 96, 100)
    assert Spread.of([7]) == Spread(7, 7, 7)


def test_free_memory_keeps_to_a_containers_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MiB allowed, 60 used, of which 20 are files that can be forgotten: 60 are free."""
    for name, content in (("memory.max", str(100 * MIB)), ("memory.current", str(60 * MIB)),
                          ("memory.stat", f"anon 1\ninactive_file {20 * MIB}\n")):  # fmt: skip
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(free, "CGROUPS", ((str(tmp_path), "memory.max", "memory.current"),))
    assert free.free_memory() == 60 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert free.free_memory() > 100 * MIB
    assert machine.this_machine(2.5).free == round(2.5 * 2**30)


def test_answer_functions_say_what_is_right(tmp_path: Path) -> None:
    """`One more.⏎#### 8` asks for 8."""
    found: dict[str, Any] = {}
    text = answer_functions("answer", numbers=True, recipe="recipe.yaml")
    ast.parse(text)
    exec(compile(text, "answer_rewards.py", "exec"), found)
    worked = "One more.\n#### 8"
    assert [found["correct"](said, worked) for said in ("It is 8.", "It is 9.", "First 9, then\n8")] == [1.0, 0.0, 1.0]
    assert [found["stated"](said, worked) for said in ("It is 8.", "So:\n8")] == [0.0, 1.0]
    exec(compile(answer_functions("solution", numbers=False, recipe="r"), "answer_rewards.py", "exec"), found)
    assert [found["correct"](said, "Paris") for said in ("paris", "It is Paris")] == [1.0, 0.0]


def test_answers_are_numbers_only_if_all_are() -> None:
    from preflab.records import Prompt

    def prompts(*given: str) -> list[Prompt]:
        return [Prompt.make(text=str(i), columns={"answer": answer}) for i, answer in enumerate(given)]

    assert are_numbers(prompts("8", "#### 1,200", "1/2"), "answer")
    assert not are_numbers(prompts("8", "Paris"), "answer")
