"""Games as environments: openings, replies, rewards and masks of games that were played through on paper.

0 1 2
3 4 5        the opponent `lowest_cell` marks the first free cell
6 7 8
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from preflab.conversations.renderer import Renderer
from preflab.environments.episodes import EnvironmentEpisodes
from preflab.environments.loading import EnvironmentSource
from preflab.environments.protocol import Reply
from preflab.errors import PreflabError
from preflab.games.dialogue import GameEnvironment, game_prompts
from preflab.games.exact_values import ExactValues
from preflab.games.game import load_game
from preflab.games.language_model import game_tokenizer
from preflab.games.opponents import opponent_named
from preflab.records import Prompt
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest

LOWEST = "stones_game:lowest_cell"
BOARD = "tic_tac_toe"


def prompt(**columns: Any) -> Prompt:
    return Prompt.make(text="play", columns={"game": BOARD, "opponent": LOWEST, **columns})


def played(moves: Sequence[str], **columns: Any) -> list[Reply]:
    environment = GameEnvironment()
    environment.reset(prompt(**columns), seed=0)
    return [environment.step(move) for move in moves]


def test_win_ends_with_reward_one_and_no_turn() -> None:
    """4, >0, 8, >1, 2, >3, 6: the policy has 2, 4, 6."""
    *early, last = played(["4", "8", "2", "6"])
    assert [(reply.turn, reply.reward, reply.end) for reply in early] == [
        (">0", 0.0, False), (">1", 0.0, False), (">3", 0.0, False),
    ]  # fmt: skip
    assert (last.turn, last.reward, last.end) == (None, 1.0, True)
    assert last.columns == {"won": 1.0, "lost": 0.0, "illegal": 0.0}


def test_loss_is_the_reward_of_the_policys_last_move() -> None:
    """8, >0, 7, >1, 5, >2: the opponent has 0, 1, 2."""
    last = played(["8", "7", "5"])[-1]
    assert (last.turn, last.reward, last.end) == (">2", -1.0, True)
    assert last.columns == {"won": 0.0, "lost": 1.0, "illegal": 0.0}


def test_draw_has_reward_zero() -> None:
    """2, >0, 3, >1, 4, >5, 6 would win; 7 does not: 2, 3, 4, 7 and >6, then 8 fills the board."""
    last = played(["2", "3", "4", "7", "8"])[-1]
    assert (last.turn, last.reward, last.end) == (None, 0.0, True)


@pytest.mark.parametrize("move", ["0", "4", "9", "hello", "", "1 2", ">1"])
def test_illegal_move_ends_the_game_as_worse_than_a_loss(move: str) -> None:
    """After 4, >0 the cells 0 and 4 are taken."""
    last = played(["4", move])[-1]
    assert (last.turn, last.reward, last.end) == (None, -2.0, True)
    assert last.columns == {"won": 0.0, "lost": 1.0, "illegal": 1.0}


def test_second_side_hears_the_first_move_in_its_opening() -> None:
    assert [turn.content for turn in GameEnvironment().reset(prompt(side=1), seed=3)] == ["second >0"]


def test_random_plies_end_before_a_move_of_the_policy_in_a_game_that_goes_on() -> None:
    for seed in range(50):
        for side in (0, 1):
            environment = GameEnvironment()
            turns = environment.reset(prompt(side=side, plies=6), seed=seed)
            assert turns[-1].role == "user"
            assert len(environment.moves) % 2 == side  # it is the policy's turn
            assert len(environment.moves) <= 7  # six moves, fewer if the next would end the game, and perhaps a reply
            assert not load_game(BOARD).is_over(environment.state)


def test_same_seed_gives_the_same_game_and_others_differ() -> None:
    starts = [GameEnvironment().reset(prompt(opponent="random", plies=4), seed=seed) for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2]


@pytest.mark.parametrize("seed", range(4))
def test_game_of_one_player_says_then_until_the_goal(seed: int) -> None:
    """From (3, 0) up leads to (2, 0); five times right and one down from there is the goal."""
    environment = GameEnvironment()
    (opening,) = environment.reset(prompt(game="cliff"), seed)
    row = environment.state[0]
    assert opening.content == f"start ({row},0,12)"
    *early, last = [environment.step(move) for move in [*["up"] * (row == 3), *["right"] * 5, "down"]]
    assert all((reply.turn, reply.reward, reply.end) == ("then", 0.0, False) for reply in early)
    assert (last.turn, last.reward, last.end) == (None, 1.0, True)


def test_mixture_is_a_share_of_random_moves() -> None:
    """After 4 on the empty board the corners are the four best of eight moves: 0.3/8 + 0.7/4 each."""
    state = (0, 0, 0, 0, 1, 0, 0, 0, 0)
    assert ExactValues(load_game(BOARD)).best_moves(state) == {0, 2, 6, 8}
    probs = opponent_named("mixture:0.3", BOARD)(state)
    assert [probs[cell] for cell in (0, 2, 6, 8)] == pytest.approx([0.2125] * 4)
    assert [probs[cell] for cell in (1, 3, 5, 7)] == pytest.approx([0.0375] * 4)


@pytest.mark.parametrize("name", ["strong", "mixture:2", "mixture:x", "stones_game:no_such_player"])
def test_unknown_opponents_are_refused(name: str) -> None:
    with pytest.raises(PreflabError):
        opponent_named(name, BOARD)


def test_prompts_name_opponent_side_and_plies() -> None:
    prompts = game_prompts(BOARD, "minimax", plies=(0, 3))
    assert [(one.columns["side"], one.columns["plies"]) for one in prompts] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert all(one.columns["opponent"] == "minimax" for one in prompts)
    assert len(GameEnvironment.prompts()) == 14


class Script:
    """A sampler that says the words of a list, one turn after another."""

    exact = True

    def __init__(self, tokenizer: Any, words: Sequence[str]) -> None:
        self.tokenizer, self.words = tokenizer, iter(words)

    def sync(self, version: int) -> None: ...

    def release(self) -> None: ...

    def sample(
        self, requests: Sequence[SampleRequest], decoding: DecodingSettings, **_: Any
    ) -> list[SampledCompletion]:
        ids = tuple(self.tokenizer.convert_tokens_to_ids([next(self.words), "</s>"]))
        return [SampledCompletion(ids, (-0.5, -0.25), "stop")]


def test_episode_masks_the_opponents_tokens_and_rewards_the_last_move() -> None:
    tokenizer = game_tokenizer(load_game(BOARD), context=64)
    source = EnvironmentSource("game", GameEnvironment)
    sampler = Script(tokenizer, ["4", "8", "2", "6"])
    episodes = EnvironmentEpisodes(source, Renderer(tokenizer), sampler, DecodingSettings(max_new_tokens=2), 8, 64)
    (episode,) = episodes.play([prompt()], [0], [0])
    tokens = tokenizer.convert_ids_to_tokens
    assert tokens(episode.prompt_ids) == ["<s>", "first"]
    assert tokens(episode.token_ids) == ["4", "</s>", ">0", "8", "</s>", ">1", "2", "</s>", ">3", "6", "</s>"]
    yes, no = True, False
    assert episode.written == (yes, yes, no, yes, yes, no, yes, yes, no, yes, yes)
    assert episode.rewards == (*[0.0] * 10, 1.0)
    assert episode.finished
