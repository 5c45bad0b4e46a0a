"""A language model of a game opens like any model, its games render like conversations, and the loops train it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from preflab.cli.game_language import keep_to_one_run
from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.games.by_language import LanguageSettings, Measured, make_base, train_player
from preflab.games.game import load_game
from preflab.games.language_model import GameModelSize, build_game_model, make_game_model
from preflab.games.language_player import LanguagePlayer, conversation_ids
from preflab.games.own_play import OwnPlay, measure_own_play
from preflab.games.random_games import as_sequence, random_conversations, random_game
from preflab.games.words import GameWords
from preflab.models.check_turns import check_turns
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.records import Message, Prompt

SMALL = GameModelSize(num_layers=1, hidden_size=32, num_heads=2)
GAMES = ("tic_tac_toe", "cliff")


@pytest.fixture(scope="module", params=GAMES)
def spoken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, LanguageModel]:
    """A game and its opened model."""
    folder = make_game_model(load_game(request.param), tmp_path_factory.mktemp("game") / "model", 0, SMALL)
    return request.param, open_language_model(folder, dtype="float32")


def test_model_passes_the_checks_of_turns(spoken: tuple[str, LanguageModel]) -> None:
    _, opened = spoken
    assert all(row.holds for row in check_turns(opened.renderer()))


def test_games_are_tokenized_as_the_renderer_does(spoken: tuple[str, LanguageModel]) -> None:
    name, opened = spoken
    game, renderer = load_game(name), opened.renderer()
    start, moves = random_game(game, random.Random(1))
    for num in range(len(moves)):
        turns = GameWords(game).conversation(0, start, moves[:num])
        if turns[-1].role == "user":
            assert conversation_ids(opened.tokenizer, turns) == renderer.prompt_ids(Prompt.make(messages=tuple(turns)))


def test_random_games_are_masked_as_the_renderer_does(spoken: tuple[str, LanguageModel]) -> None:
    name, opened = spoken
    for turns in random_conversations(load_game(name), 6, seed=0):
        assert opened.tokenizer.unk_token_id not in conversation_ids(opened.tokenizer, turns)
        learned = [turn.role == "assistant" for turn in turns]
        rendered = opened.renderer().dialogue(Prompt.make(messages=tuple(turns[:1])), turns, 1, learned)
        assert as_sequence(opened.tokenizer, turns) == rendered


def test_an_answer_is_the_move_and_the_end(spoken: tuple[str, LanguageModel]) -> None:
    name, opened = spoken
    game, renderer = load_game(name), opened.renderer()
    prompt = Prompt.make(messages=(Message("user", GameWords(game).opening(0, game.start(0))),))
    move = str(game.moves[0])
    ids = renderer.completion_ids(prompt, move)
    assert opened.tokenizer.convert_ids_to_tokens(ids) == [move, "</s>"]
    assert renderer.text(prompt, ids) == move


def test_equal_seeds_give_equal_weights() -> None:
    game = load_game("tic_tac_toe")
    one, other, third = (build_game_model(game, seed, SMALL)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


CHANGES = {
    "ppo": {"num_completions_per_step": 16, "num_epochs": 1, "num_minibatches": 2},
    "grpo": {"num_prompts_per_step": 4, "num_completions_per_prompt": 4, "num_epochs": 1, "num_minibatches": 2},
}


def learned(folder: Path, by: str) -> tuple[list[Measured], Path]:
    """A base model from a few steps, two steps of the loop, and the measures."""
    settings = LanguageSettings(
        by="ppo" if by == "ppo" else "grpo",
        num_random_games=64,
        num_sft_steps=3,
        num_steps=2,
        measure_every=2,
        size=SMALL,
        changes=CHANGES[by],
    )
    measures: list[Measured] = []
    base = make_base("tic_tac_toe", settings, folder / "base")
    return measures, train_player("tic_tac_toe", base, settings, folder / by, measures.append)


def test_criterion_is_zero_while_a_move_is_illegal() -> None:
    play = OwnPlay(100, 0.99, 50, 0.98, 0, (0.0, 1.0))
    assert Measured(10, 5120, "minimax", play).criterion == 0.98
    assert Measured(10, 5120, "minimax", replace(play, num_illegal=1)).criterion == 0.0


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    facts = {"game": "tic_tac_toe", "seed": 0, "opponent of ppo": "random"}
    keep_to_one_run(tmp_path, facts)
    keep_to_one_run(tmp_path, facts)
    keep_to_one_run(tmp_path, {"game": "tic_tac_toe", "seed": 0, "opponent of grpo": "minimax"})
    for name, value, before in (("game", "cliff", "tic_tac_toe"), ("seed", 1, "0"), ("opponent of ppo", "x", "random")):
        with pytest.raises(PreflabError, match=f"a run whose {name} is {before}\n"):
            keep_to_one_run(tmp_path, {**facts, name: value})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {**facts, "opponent of grpo": "minimax"}


@pytest.mark.slow
@pytest.mark.parametrize("by", ["ppo", "grpo"])
def test_path_from_random_games_to_a_measured_policy(by: str, tmp_path: Path) -> None:
    measures, folder = learned(tmp_path / "one", by)
    assert [(one.num_steps, one.num_games, one.opponent) for one in measures] == [
        (0, 0, "mixture:0.3"), (2, 32, "mixture:0.3"),
    ]  # fmt: skip
    assert read_jsonl(folder.parent / "curve.jsonl") == [
        {**one.row, "exploitability": list(one.own_play.exploitability)} for one in measures
    ]
    player = LanguagePlayer.of_folder(folder)
    assert measure_own_play(load_game("tic_tac_toe"), player) == measures[-1].own_play
    rows = read_jsonl(folder.parent / "metrics.jsonl")
    assert all(-2 <= row["reward/environment"] <= 1 for row in rows)
    assert rows[-1]["score/held_out"] == measures[-1].criterion
    again, second = learned(tmp_path / "two", by)
    assert again == measures
    one, other = (open_language_model(place, dtype="float32").model.state_dict() for place in (folder, second))
    assert all(torch.equal(one[name], other[name]) for name in one)
