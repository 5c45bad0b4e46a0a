"""What cannot write is refused in one sentence before anything runs, by the command that was given it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from architecture_table import ENCODER_DECODERS, SEEING
from architecture_trials import save
from architectures import architecture, build
from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.models.causality import why_not_causal
from preflab.models.families import token_states
from preflab.models.kinds import UNSUPPORTED, family_of, kind_of, opener_of
from preflab.models.loading import load_causal_lm, load_encoder, load_tokenizer, read_config
from preflab.models.logit_path import head_of, why_not_chunked
from preflab.models.text_model import decoder_of
from preflab.models.trunk import Trunk
from preflab.recipe import load_recipe
from preflab.rewards.score import is_decoder
from preflab.settings.learning import LoraSettings
from preflab.stages import check_before
from preflab.training.batches import TokenSequence
from tiny_encoder_decoders import tiny_bart, tiny_mbart, tiny_t5
from tiny_models import tiny_model

ENCODERS = ["albert", "bert", "bert, causal head", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
            "modernbert", "mpnet", "roberta", "xlm-roberta"]  # fmt: skip
SUPPORTED = sorted({*ENCODER_DECODERS} - {*UNSUPPORTED})
SMALLEST = {"vision-encoder-decoder": {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2"}}}
"""What a configuration cannot do without."""
Captured = pytest.CaptureFixture[str]


def saved(name: str, folder: Path) -> Path:
    build(name).save_pretrained(folder)
    return folder


def refusal(folder: Path) -> PreflabError:
    with pytest.raises(PreflabError) as error:
        load_causal_lm(folder, dtype="float32")
    assert error.value.expected.startswith(("a language model", "a decoder, an encoder, or an encoder–decoder of text"))
    assert error.value.do
    return error.value


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_cannot_write_and_can_be_read(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    assert "is an encoder, in which each token attends to later tokens" in refusal(folder).found
    assert "reward model" in refusal(folder).do
    assert not is_decoder(folder)
    assert load_encoder(folder, dtype="float32")(torch.arange(5, 9)[None]).last_hidden_state.shape == (1, 4, 32)


@pytest.mark.parametrize("name", SUPPORTED)
def test_encoder_decoders_of_text_can_write_and_carry_a_reward_head(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    model = load_causal_lm(folder, dtype="float32")
    assert family_of(model).name == "encoder–decoder"
    assert opener_of(model.config) == "AutoModelForSeq2SeqLM"
    assert is_decoder(folder)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_encoder_decoders_that_cannot_be_trained_right_are_refused(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    said = f"{folder}: {name} is an encoder–decoder that preflab does not support ({UNSUPPORTED[name]})"
    assert refusal(folder).found == said
    with pytest.raises(PreflabError) as error:
        is_decoder(folder)
    assert error.value.found == said


@pytest.mark.parametrize("kind", ["pix2struct", "speech_to_text", "speecht5", "vision-encoder-decoder", "whisper"])
def test_encoder_decoders_of_images_and_speech_are_refused(kind: str, tmp_path: Path) -> None:
    """The configuration alone says so, before any weight is read."""
    (tmp_path / "config.json").write_text(json.dumps(SMALLEST.get(kind, {}) | {"model_type": kind}))
    said = f"{kind} is an encoder–decoder that preflab does not support (transformers does not open it as a text model)"
    for ask in (lambda: load_causal_lm(tmp_path, dtype="float32"), lambda: is_decoder(tmp_path)):
        with pytest.raises(PreflabError) as error:
            ask()
        assert error.value.found == f"{tmp_path}: {said}"


@pytest.mark.parametrize("name", ["bert, decoder", "roberta, decoder", "bart, decoder"])
def test_decoders_of_families_of_encoders_can_write(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    assert why_not_causal(load_causal_lm(folder, dtype="float32")) is None
    assert is_decoder(folder)


@pytest.mark.parametrize("name", ["gemma3, both ways", "xlnet", "cpmant", "paligemma"])
def test_what_sees_later_tokens_is_found_by_its_numbers(name: str, tmp_path: Path) -> None:
    """Nothing in these configurations says so in a way that all models share."""
    found = refusal(saved(name, tmp_path)).found
    assert "logits change by" in found
    assert "it is not causal" in found
    # By hand: another last token, and the logits at the first ones.
    model, ids = build(name), torch.arange(5, 13)[None]
    other = ids.clone()
    other[0, -1] = 99
    with torch.no_grad():
        change = model(input_ids=ids).logits[0, :7] - model(input_ids=other).logits[0, :7]
    assert change.abs().max() > 0.05


@pytest.mark.parametrize("name", ["blip-2", "idefics", "instructblip", "kosmos-2", "pix2struct"])
def test_what_needs_an_image_is_no_text_model(name: str, tmp_path: Path) -> None:
    found = refusal(saved(name, tmp_path)).found
    assert "text as its only input" in found or "encoder–decoder" in found


@pytest.mark.parametrize("name", ["gemma3, seeing", "llava", "qwen2_5_vl", "qwen3_vl", "mllama", "qwen3_5, seeing"])
def test_a_text_model_inside_one_that_sees_is_a_text_model(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    model, ids = load_causal_lm(folder, dtype="float32"), torch.arange(5, 25)[None]
    assert type(model) is type(build(name))  # all of it, so that it opens again as what it was
    assert opener_of(read_config(folder)) in ("AutoModelForImageTextToText", "AutoModelForCausalLM")
    assert is_decoder(folder)
    assert why_not_chunked(model) is None
    with torch.no_grad():
        own = model(input_ids=ids).logits
        states = decoder_of(model)(input_ids=ids).last_hidden_state
        ours = torch.nn.functional.linear(states, head_of(model).weight, head_of(model).bias)
    assert torch.allclose(ours, own, atol=1e-5)


@pytest.mark.parametrize("name", ["xlstm", "bert", "llama"])
def test_the_width_of_states_is_asked_without_caches(name: str) -> None:
    """xLSTM's cache in transformers has sizes of its own, which fail for a state as small as this one's."""
    model = build(name)
    family, row = family_of(model), TokenSequence((0, 1), (2, 3))
    body = family.without_head(model)
    widths = [token_states(family, each, [row]).shape[1] for each in (body, model)]
    assert widths == [body.get_input_embeddings().weight.shape[1]] * 2


@pytest.mark.slow
def test_every_kind_of_the_table_is_known() -> None:
    from transformers import CONFIG_MAPPING

    from architecture_table import DECODERS, MIXTURES, RECURRENT
    from architectures import small_config

    for name in [*DECODERS, *MIXTURES, *RECURRENT, *SEEING]:
        row = architecture(name)
        kind = kind_of(small_config(CONFIG_MAPPING[row.model_type], row.changes))
        assert kind == ("other" if name == "pix2struct" else "decoder"), name


def test_a_folder_without_architectures_is_what_its_type_says(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))
    assert is_decoder(folder)
    assert type(load_causal_lm(folder, dtype="float32")).__name__ == "LlamaForCausalLM"


def test_code_that_ships_with_a_model_is_not_run(tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto_map}))
    (tmp_path / "configuration_own.py").write_text("raise SystemExit('run')")
    with pytest.raises(PreflabError) as error:
        load_causal_lm(tmp_path, dtype="float32")
    assert "it needs code that ships with the model, which preflab does not run" in error.value.found


def test_a_type_that_transformers_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own"}))
    with pytest.raises(PreflabError, match="own"):
        load_causal_lm(tmp_path, dtype="float32")


def test_an_encoder_is_refused_before_its_tokenizer_is_blamed(tmp_path: Path) -> None:
    folder = save("bert", tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["eos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(PreflabError, match="is an encoder"):
        load_tokenizer(folder)
    assert load_tokenizer(folder, writes=False).eos_token is None


def test_check_and_chat_refuse_in_a_sentence(tmp_path: Path, capsys: Captured) -> None:
    for name, said in (
        ("bert", "bert is an encoder"),
        ("fsmt", "fsmt is an encoder–decoder"),
        ("kosmos-2", "text as its only input"),
    ):
        folder = save(name, tmp_path / name)
        for command in (("check", str(folder)), ("chat", str(folder), "--prompt", "word1")):
            with pytest.raises(SystemExit) as leaving:
                run_command(command)
            assert leaving.value.code == 2
            err = capsys.readouterr().err
            assert said in err
            assert "Traceback" not in err


@pytest.mark.parametrize("full", [True, False], ids=["all weights", "adapter"])
def test_a_reward_models_folder_is_said_to_score(full: bool, tmp_path: Path, capsys: Captured) -> None:
    """With all weights it holds a configuration and a tokenizer, with an adapter neither."""
    folder = save("llama", tmp_path / "rm") if full else tmp_path / "rm"
    folder.mkdir(exist_ok=True)
    (folder / "reward_model.json").write_text("{}")
    if not full:
        (folder / "adapter_config.json").write_text("{}")
    for command in (("check", str(folder)), ("chat", str(folder), "--prompt", "word1")):
        with pytest.raises(SystemExit):
            run_command(command)
        err = capsys.readouterr().err.splitlines()
        assert err[-3] == f"error: {folder}: a reward model, which scores completions and cannot generate text"
        assert f"`preflab score FILE --by {folder}`" in err[-1]


@pytest.mark.parametrize("tied", [True, False])
def test_an_exported_reward_model_does_not_write(tied: bool, tmp_path: Path) -> None:
    """With tied weights nothing would be missing from the language model that its folder was opened as."""
    config = LlamaConfig(
        vocab_size=97, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=1,
        tie_word_embeddings=tied,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    found = refusal(tmp_path)
    assert found.found == f"{tmp_path}: LlamaForSequenceClassification scores completions and cannot generate text"
    assert f"`preflab score FILE --by {tmp_path} --class CLASS`" in found.do


STAGES = {
    "sft": "data: demos",
    "sample": "prompts: prompts",
    "best_of_n": "prompts: prompts, rewards: [{function: 'm:f'}]",
    "ppo": "prompts: prompts, rewards: [{function: 'm:f'}]",
    "grpo": "prompts: prompts, rewards: [{function: 'm:f'}]",
    "online_dpo": "prompts: prompts, rewards: [{function: 'm:f'}]",
    "dpo": "preferences: pairs",
    "revise": "prompts: prompts, constitution: rules.yaml",
}


@pytest.mark.parametrize("kind", STAGES)
def test_every_stage_that_writes_refuses_an_encoder_before_anything_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.rewards.functions.load_function", lambda word: word)
    save("bert", tmp_path / "bert")
    for name in ("prompts", "demos", "pairs"):
        (tmp_path / f"{name}.jsonl").write_text("")
    (tmp_path / "rules.yaml").write_text("")
    data = "{prompts: {path: prompts.jsonl}, demos: {path: demos.jsonl}, pairs: {path: pairs.jsonl}}"
    stage = f"{{kind: {kind}, model: ./bert, {STAGES[kind]}}}"
    (tmp_path / "recipe.yaml").write_text(f"recipe: 1\ndata: {data}\nstages:\n  it: {stage}\n")
    with pytest.raises(PreflabError) as error:
        check_before(load_recipe(tmp_path / "recipe.yaml"), "it")
    assert error.value.found == "stage it: ./bert: bert is an encoder, in which each token attends to later tokens"


def test_nothing_has_run_when_a_later_stage_is_refused(tmp_path: Path, capsys: Captured) -> None:
    save("bert", tmp_path / "bert")
    (tmp_path / "text.jsonl").write_text('{"text": "a word"}\n')
    (tmp_path / "demos.jsonl").write_text('{"prompt": "a", "completion": " word"}\n')
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\ndata: {text: {path: text.jsonl}, demos: {path: demos.jsonl}}\nstages:\n"
        "  tiny: {kind: tiny, text: text, num_steps: 1}\n  sft: {kind: sft, model: ./bert, data: demos}\n"
    )
    with pytest.raises(SystemExit):
        run_command(("run", str(tmp_path / "recipe.yaml")))
    assert "stage sft: ./bert: bert is an encoder" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("tiny-*"))


@pytest.mark.parametrize("name", ["bert", "t5", "fsmt"])
def test_a_reward_stage_takes_what_can_carry_a_reward_head(name: str, tmp_path: Path) -> None:
    save(name, tmp_path / name)
    (tmp_path / "pairs.jsonl").write_text("")
    stage = f"{{kind: reward, model: ./{name}, preferences: pairs}}"
    (tmp_path / "recipe.yaml").write_text(
        f"recipe: 1\ndata: {{pairs: {{path: pairs.jsonl}}}}\nstages:\n  rm: {stage}\n"
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    if name != "fsmt":
        check_before(recipe, "rm")
        return
    with pytest.raises(PreflabError, match="stage rm: ./fsmt: fsmt is an encoder–decoder"):
        check_before(recipe, "rm")


@pytest.mark.parametrize(
    ("make", "reference", "found"),
    [
        (tiny_t5, lambda: tiny_model("llama"), "a reference of the family decoder for a model of the family encoder"),
        (tiny_bart, tiny_mbart, r"starts with the tokens \[1, 3\], for a model that starts with \[1\]"),
        (tiny_t5, tiny_bart, r"starts with the tokens \[1\], for a model that starts with \[0\]"),
    ],
)
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)], ids=["full", "adapters"])
def test_references_that_read_other_rows_are_refused(make: Any, reference: Any, found: str, lora: Any) -> None:
    tokenizer = SimpleNamespace(pad_token_id=0, get_vocab=lambda: {str(number): number for number in range(32)})
    with pytest.raises(PreflabError, match=found):
        Trunk(make(), tokenizer, lora=lora, roles=("policy", "reference"), reference=reference())
