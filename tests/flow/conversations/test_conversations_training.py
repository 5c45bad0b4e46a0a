"""Conversations through every stage: one rendering for all, ends that are learned, scores that know no difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from chat_templates import BE_KIND, BY_NAME, FAMILIES, Family, byte_tokenizer, configured_ids
from preflab.cli.models import Talker
from preflab.conversations.fitting_prompts import fitting_prompts
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.labelers.local import LocalJudge
from preflab.labelers.questions import label_question
from preflab.models.tiny import build_model
from preflab.models.trunk import Trunk
from preflab.pipeline import Line, run
from preflab.policy.sft import Demonstration, encode_demonstrations, train_sft
from preflab.recipe import load_recipe
from preflab.records import Completion, Message, PairOutcome, Preference, Prompt
from preflab.rewards.rankings import Encoder, make_rankings
from preflab.settings.dpo import DpoSettings
from preflab.settings.learning import OptimiserSettings, SftSettings
from preflab.stages.common.data import demonstrations_in
from preflab.stages.common.preference_data import PreferenceData
from preflab.stages.common.preference_groups import find_groups
from preflab.training.token_limits import TokenLimits
from preflab.training.too_long import LongRows

CONTEXT = 400
QUESTIONS = ("Which day is it?", "And now?")
GOOD, BAD = "It is monday.", "No idea."


def model_of(family: Family, tokenizer: Any) -> Any:
    model = build_model(tokenizer, num_layers=1, hidden_size=32, num_heads=2, context=CONTEXT, seed=0)
    model.generation_config = GenerationConfig(eos_token_id=configured_ids(family, tokenizer) or tokenizer.eos_token_id)
    return model


def save(family: Family, folder: Path) -> Path:
    tokenizer = byte_tokenizer(family)
    model_of(family, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompts(family: Family) -> list[Prompt]:
    if family.template is None:
        return [Prompt.make(text=f"{question}\n") for question in QUESTIONS]
    before = (BE_KIND,) if family.system and family.name != "mistral with system" else ()
    return [Prompt.make(messages=(*before, Message("user", question))) for question in QUESTIONS]


def own_ids(family: Family, tokenizer: Any, prompt: Prompt, answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(prompt, answer up to its end) as the template itself renders them, tokenized by the tokenizer alone."""
    if family.template is None:
        whole = tokenizer(prompt.text + answer + family.eos, add_special_tokens=False)["input_ids"]
        asked = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        return tuple(asked), tuple(whole[len(asked) :])
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    messages.append({"role": "assistant", "content": answer})
    whole = tokenizer.apply_chat_template(messages, return_dict=False)
    end = tokenizer.convert_tokens_to_ids(family.end)
    rest = whole[len(asked) :]
    return tuple(asked), tuple(rest[: rest.index(end) + 1] if end in rest else (*rest, end))


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_every_stage_reads_the_templates_own_rendering(family: Family, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(family)
    model = model_of(family, tokenizer)
    asked, answers = prompts(family), (GOOD, BAD)
    records = {p.id: [Completion.make(p.id, text, "m", index=i) for i, text in enumerate(answers)] for p in asked}
    expected = {(p.id, text): own_ids(family, tokenizer, p, text) for p in asked for text in answers}
    renderer = Renderer.of(model, tokenizer)

    rows = [Demonstration(prompt, records[prompt.id][0]) for prompt in asked]
    for prompt, sequence in zip(asked, encode_demonstrations(renderer, rows, LongRows(CONTEXT, "refuse")), strict=True):
        assert (sequence.prompt_ids, sequence.completion_ids) == expected[prompt.id, GOOD]

    pair = (PairOutcome(0, 1, 1.0, 0.0, 0.0),)
    preferences = tuple(Preference.make(p.id, tuple(c.id for c in records[p.id]), (1, 2), pairs=pair) for p in asked)
    completions = {c.id: c for group in records.values() for c in group}
    data = PreferenceData("pairs", preferences, {p.id: p for p in asked}, completions, {})
    encoder = Encoder(tokenizer, True, 2**31, renderer.configured)
    settings = DpoSettings(model="-", preferences="-", held_out=0.0)
    groups = find_groups(data, encoder, settings, max_tokens=CONTEXT).train
    rankings = make_rankings(preferences, data.prompts, completions, encoder)
    for prompt, group, ranking in zip(asked, groups, rankings, strict=True):
        for sequences in (group.sequences, ranking.sequences):
            found = [(sequence.prompt_ids, sequence.completion_ids) for sequence in sequences]
            assert found == [expected[prompt.id, text] for text in answers]

    on_policy = fitting_prompts(renderer, asked, max_new_tokens=8, limits=TokenLimits(CONTEXT))
    assert on_policy.prompts == [(prompt, expected[prompt.id, GOOD][0]) for prompt in asked]

    question = label_question("Which?", "Hi", GOOD, BAD)
    judged = Prompt.make(messages=(Message("user", question),)) if family.template else Prompt.make(text=question)
    judge = LocalJudge(model, tokenizer)
    for row, label in zip(judge.label_rows(question, ("A", "B")), ("A", "B"), strict=True):
        before, after = own_ids(family, tokenizer, judged, label if family.template else f" {label}")
        assert row.prompt_ids == before
        assert row.completion_ids == after[: len(row.completion_ids)]
        assert tokenizer.decode(row.completion_ids).endswith(label)

    talker = Talker(save(family, tmp_path / "model"), 1.0, 8, 0)
    said = Prompt.make(messages=(Message("user", "Hi"),)) if family.template else Prompt.make(text="Hi")
    seen: list[tuple[int, ...]] = []
    sample = talker.engine.sample
    talker.engine.sample = lambda requests, decoding: seen.append(requests[0].prompt_ids) or sample(requests, decoding)
    talker.answer("Hi")
    assert seen == [own_ids(family, tokenizer, said, GOOD)[0]]
    assert tokenizer.convert_tokens_to_ids(family.end) in talker.renderer.stop_token_ids


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_ten_steps_of_sft_make_the_turns_end_likelier(family: Family, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(family)
    model = model_of(family, tokenizer)
    renderer, asked = Renderer.of(model, tokenizer), prompts(family)
    rows = [Demonstration(prompt, Completion.make(prompt.id, GOOD, "m")) for prompt in asked]
    sequences = encode_demonstrations(renderer, rows, LongRows(CONTEXT, "refuse"))
    end = tokenizer.convert_tokens_to_ids(family.end)

    def end_probability() -> float:
        """Mean probability of the end after the whole answer, from the model's own logits."""
        found = []
        for sequence in sequences:
            ids = torch.tensor([[*sequence.prompt_ids, *sequence.completion_ids[:-1]]])
            with torch.no_grad():
                found.append(float(model(input_ids=ids).logits[0, -1].softmax(-1)[end]))
        return sum(found) / len(found)

    before = end_probability()
    trunk = Trunk(model, tokenizer, lora=None, roles=("policy",))
    settings = SftSettings(model="-", data="-", optimiser=OptimiserSettings(learning_rate=1e-2))
    train_sft(trunk, sequences, settings, num_steps=10, folder=tmp_path, seed=0, accelerator=Accelerator(cpu=True))
    assert end_probability() > 2 * before


# Files of conversations, as the stage reads them

HI = {"role": "user", "content": "hi"}
MONDAY = {"role": "assistant", "content": "monday"}
RECIPE = """
recipe: 1
data:
  conversational: {path: conversational.jsonl}
  messages: {path: messages.jsonl}
  pairs: {path: pairs.jsonl}
stages:
  sft:
    {kind: sft, model: ./model, data: conversational, num_epochs: 40, optimiser: {learning_rate: 1.0e-2}}
  last: {kind: sft, model: ./model, data: messages, num_epochs: 1}
  all: {kind: sft, model: ./model, data: messages, learn: all, num_epochs: 1}
  rm:
    {kind: reward, model: sft, preferences: pairs, held_out: 0.0, num_epochs: 4, lora: {rank: 4},
     optimiser: {learning_rate: 1.0e-2}}
  ppo:
    {kind: ppo, model: sft, prompts: conversational, rewards: [{model: rm}], num_steps: 1, lora: {rank: 2},
     num_completions_per_step: 4, num_epochs: 1, num_minibatches: 1, decoding: {max_new_tokens: 12}}
"""


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Line]:
    """The recipe on a base model whose end token is not the one that ends turns, run once for all tests."""
    folder = tmp_path_factory.mktemp("recipe")
    save(BY_NAME["gemma"], folder / "model")
    write(folder / "conversational.jsonl", [{"prompt": [HI], "completion": [MONDAY]}])
    talk = [HI, MONDAY, {"role": "user", "content": "sure?"}, {"role": "assistant", "content": "yes"}]
    write(folder / "messages.jsonl", [{"messages": talk}, {"messages": talk[:2]}])
    other = {"role": "assistant", "content": "no idea"}
    questions = [{"role": "user", "content": f"day {number}?"} for number in range(8)]
    write(folder / "pairs.jsonl", [{"prompt": [q], "chosen": [MONDAY], "rejected": [other]} for q in questions])
    (folder / "recipe.yaml").write_text(RECIPE)
    found = {line.name: line for line in run(load_recipe(folder / "recipe.yaml"))}
    assert {line.state for line in found.values()} == {"done"}
    return found


def test_a_conversational_demonstration_is_learned_as_its_words(lines: dict[str, Line]) -> None:
    model = AutoModelForCausalLM.from_pretrained(lines["sft"].folder / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(lines["sft"].folder / "model")
    ids = tokenizer.apply_chat_template([HI], add_generation_prompt=True, return_tensors="pt", return_dict=False)
    # Plain transformers, which stops where the model's own configuration says.
    written = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
    assert tokenizer.decode(written[0, ids.shape[1] :]) == "monday<end_of_turn>"
    row = json.loads((lines["sft"].folder / "metrics.jsonl").read_text().splitlines()[0])
    assert row["num/tokens"] == len("monday") + 1


def test_of_messages_the_last_turn_is_learned_or_all_of_them(lines: dict[str, Line]) -> None:
    counts = {
        name: sum(
            json.loads(row)["num/tokens"] for row in (lines[name].folder / "metrics.jsonl").read_text().splitlines()
        )
        for name in ("last", "all")
    }
    # each turn with its end: "yes" and "monday"; with learn: all the first conversation's "monday" as well
    assert counts == {"last": 4 + 7, "all": 4 + 7 + 7}
    assert "1 earlier turn of the assistant not trained on (set learn: all to include them)" in lines["last"].summary
    assert "earlier" not in lines["all"].summary


def test_a_reward_model_scores_text_and_sampled_tokens_alike(lines: dict[str, Line]) -> None:
    from preflab.rewards.score import RewardModelScorer, load_reward_model
    from preflab.training.protocols import ScoringItem

    trunk, encoder = load_reward_model(lines["rm"].folder / "reward")
    prompt = Prompt.make(messages=(Message("user", "day 3?"),))
    ids = encoder.renderer.prompt_ids(prompt)
    tokenizer = trunk.tokenizer
    for words in ("monday", "no idea"):
        body = encoder.renderer.completion_ids(prompt, words, ended=False)
        scores = []
        for end in ("<end_of_turn>", "<eos>"):
            sampled = (*body, tokenizer.convert_tokens_to_ids(end))
            scorer = RewardModelScorer(trunk, encoder, "rm", takes_tokens=True)
            scores.append(scorer.score([ScoringItem(prompt, words, ids, sampled)]).total.item())
        text = RewardModelScorer(trunk, encoder, "rm", takes_tokens=False)
        scores.append(text.score([ScoringItem(prompt, words)]).total.item())
        assert scores == [scores[0]] * 3
    good, bad = (text.score([ScoringItem(prompt, words)]).total.item() for words in ("monday", "no idea"))
    assert good > bad + 1


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prompt": [HI], "completion": None}, "line 2: .*null"),
        ({"prompt": "hi", "completion": None}, "line 2: .*null"),
        ({"prompt": "hi"}, "line 2: "),
        ({"prompt": [HI], "completion": [{"role": "assistant", "content": ""}]}, "line 2: .*no content"),
        ({"prompt": [HI], "completion": 3}, "line 2: .*a number"),
    ],
)
def test_what_is_no_completion_is_refused_by_line(tmp_path: Path, row: dict[str, Any], found: str) -> None:
    good = {"prompt": [HI], "completion": [MONDAY]}
    write(tmp_path / "rows.jsonl", [good, row, {**good, "topic": "x"}])
    with pytest.raises(PreflabError, match=found):
        demonstrations_in(tmp_path / "rows.jsonl")


def test_a_file_of_pairs_is_no_demonstrations(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(PreflabError, match="without a demonstration; it looks like trl-explicit") as refused:
        demonstrations_in(tmp_path / "rows.jsonl")
    assert "`format: demonstrations, columns: {chosen: completion}`" in refused.value.do


def test_the_chosen_of_pairs_are_learned_where_that_is_said(tmp_path: Path) -> None:
    """As the refusal advises, for texts and for turns."""
    write(tmp_path / "texts.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    [(prompt, completion)] = demonstrations_in(
        tmp_path / "texts.jsonl", "demonstrations", rename={"chosen": "completion"}
    )
    assert (prompt.text, completion.text) == ("a", "b")
    write(tmp_path / "turns.jsonl", [{"chosen": [HI, MONDAY], "rejected": [HI, {**MONDAY, "content": "No."}]}])
    [(prompt, completion)] = demonstrations_in(
        tmp_path / "turns.jsonl", "demonstrations", rename={"chosen": "messages"}
    )
    assert (prompt.messages[0].content, completion.text) == (HI["content"], MONDAY["content"])


def test_a_demonstration_that_stands_twice_is_learned_twice(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}] * 2)
    found = demonstrations_in(tmp_path / "rows.jsonl")
    assert [prompt.source.rpartition(" ")[2] for prompt, _ in found] == ["1", "2", "3", "4"]


def test_turns_that_a_template_writes_anew_are_learned_one_by_one(tmp_path: Path) -> None:
    # Its last turn alone has a block of thinking: a whole conversation is not what the model sees turn by turn.
    family = BY_NAME["thinking"]
    renderer = Renderer(byte_tokenizer(family))
    asked = Prompt.make(messages=(Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
    row = Demonstration(asked, Completion.make(asked.id, "d", "m"))
    sequences = encode_demonstrations(renderer, [row], LongRows(CONTEXT, "refuse"), learn="all")
    texts = [renderer.tokenizer.decode(sequence.completion_ids) for sequence in sequences]
    assert texts == [f"<think>\n\n</think>\n\n{words}<|im_end|>" for words in ("b", "d")]
    assert all(sequence.policy_tokens is None for sequence in sequences)


@pytest.mark.parametrize(("too_long", "num_kept"), [("leave_out", 1), ("cut_prompt", 2)])
def test_rows_that_are_too_long_are_counted_and_named(too_long: Any, num_kept: int) -> None:
    renderer = Renderer(byte_tokenizer(BY_NAME["no template"]))
    rows = [
        Demonstration(prompt, Completion.make(prompt.id, "yes", "m"))
        for prompt in (Prompt.make("abc", source="d.jsonl, line 1"), Prompt.make("abcdefgh", source="d.jsonl, line 2"))
    ]
    long = LongRows(8, too_long)
    sequences = encode_demonstrations(renderer, rows, long)
    assert len(sequences) == num_kept
    assert "1 row longer than 8 tokens" in long.said
    assert "d.jsonl, line 2" in long.said
    assert long.figures == {"num_too_long": 1}
    if too_long == "cut_prompt":
        # 8 + 4 tokens lose 4 of the prompt after its first: a, then f g h
        assert renderer.tokenizer.decode(sequences[1].prompt_ids) == "afgh"
        hopeless = Demonstration(Prompt.make("a", source="d.jsonl, line 3"), Completion.make("p", "y" * 9, "m"))
        with pytest.raises(PreflabError, match="line 3: .* the completion alone is too long"):
            encode_demonstrations(renderer, [hopeless], LongRows(8, too_long))


def test_prompts_without_room_are_named_all_at_once_or_left_out_or_cut() -> None:
    renderer = Renderer(byte_tokenizer(BY_NAME["no template"]))
    asked = [Prompt.make("x" * num, source=f"p.jsonl, line {num}") for num in (3, 9, 4, 8)]

    def fitting(too_long: Any) -> Any:
        return fitting_prompts(renderer, asked, max_new_tokens=4, limits=TokenLimits(8), too_long=too_long)

    with pytest.raises(
        PreflabError, match="line 9: a prompt of 9 tokens and max_new_tokens 4 .and 1 more row: .*line 8"
    ):
        fitting("refuse")
    assert [len(ids) for _, ids in fitting("leave_out").prompts] == [3, 4]
    assert [len(ids) for _, ids in fitting("cut_prompt").prompts] == [3, 4, 4, 4]
    assert "2 prompts without room for 4 tokens left out: p.jsonl, line 9, 8" in fitting("leave_out").long.said
