"""The guessing game: its rules played by hand, and the shares that reference players win."""

from __future__ import annotations

import itertools

import pytest

from preflab.environments.guessing import NUMBERS, GuessingGame, best, between, chance, consistent
from preflab.environments.protocol import Reply
from preflab.records import Prompt

PROMPT = Prompt.make(text=GuessingGame.prompts()[0])


class Three(GuessingGame):
    """Three numbers, two guesses."""

    num_numbers, num_guesses = 3, 2


def played(secret: str, guesses: list[str], game: type[GuessingGame] = GuessingGame) -> list[Reply]:
    """The replies to these guesses, up to the end."""
    environment, replies = game(), list[Reply]()
    environment.reset(PROMPT, 0)
    environment.secret = NUMBERS.index(secret)
    for guess in guesses:
        replies.append(environment.step(guess))
        if replies[-1].end:
            break
    return replies


def test_the_feedback_narrows_what_is_known() -> None:
    replies = played("ten", [" eight.", " twelve.", " four.", " ten."])
    assert [reply.turn for reply in replies] == [
        " higher than eight.",
        " higher than eight and lower than twelve.",
        " higher than eight and lower than twelve.",
        " yes.",
    ]
    assert [reply.reward for reply in replies] == [0, 0, -0.5, 1]
    assert [reply.columns["wasted"] for reply in replies] == [0, 0, 1, 1], "four was ruled out by eight"
    assert [reply.end for reply in replies] == [False, False, False, True]


def test_a_game_is_lost_after_four_guesses_and_other_words_count_as_guesses() -> None:
    replies = played("one", ["what?", "", "sixteen.", "fifteen."])
    assert [reply.turn for reply in replies] == [" no.", " no.", " no.", " lower than fifteen."]
    assert [reply.end for reply in replies] == [False, False, False, True]
    assert [reply.columns for reply in replies][-1] == {"won": 0.0, "wasted": 3.0}
    assert [reply.reward for reply in replies] == [-0.5, -0.5, -0.5, 0]


def test_the_first_guess_may_win() -> None:
    (reply,) = played("three", ["three"])
    assert (reply.turn, reply.reward, reply.end) == (" yes.", 1.0, True)


def test_the_secret_comes_from_the_seed_alone() -> None:
    def secret(seed: int) -> int:
        game = GuessingGame()
        game.reset(PROMPT, seed)
        return game.secret

    secrets = [secret(seed) for seed in range(200)]
    assert secrets == [secret(seed) for seed in range(200)]
    assert set(secrets) == set(range(15))


def test_words_for_what_is_known() -> None:
    assert between(0, 14, 15) == "no"
    assert between(3, 14, 15) == "higher than three"
    assert between(0, 3, 15) == "lower than five"
    assert between(3, 3, 15) == "higher than three and lower than five"


def test_chance_by_all_games_of_three_numbers() -> None:
    """3 secrets × 9 pairs of guesses; of the 9 pairs 4 miss a secret, so 15 of 27 games are won: 1 − (2/3)² = 5/9."""
    pairs = list(itertools.product(NUMBERS[:3], repeat=2))
    won = [played(secret, list(pair), Three)[-1].columns["won"] for secret in NUMBERS[:3] for pair in pairs]
    assert (len(won), sum(won)) == (27, 15)
    assert chance(3, 2) == pytest.approx(5 / 9)
    assert chance(15, 4) == pytest.approx(1 - 14**4 / 15**4) == pytest.approx(0.24117, abs=1e-5)


def test_the_share_of_a_player_who_listens() -> None:
    """Of three numbers: the middle first (1/3) wins always, an end first (2/3) wins 1/3 + 2/3 · 1/2 = 2/3; 7/9."""
    assert consistent(3, 2) == pytest.approx(1 / 3 + 2 / 3 * 2 / 3)
    assert consistent(1, 1) == 1
    assert consistent(5, 1) == pytest.approx(1 / 5)


def test_the_best_player_searches_by_halves() -> None:
    """G guesses find the secret among 2^G − 1 numbers."""
    assert best(3, 2) == best(7, 3) == best(15, 4) == 1
    assert best(7, 2) == pytest.approx(3 / 7)
    assert best(15, 3) == pytest.approx(7 / 15)


def test_halving_wins_every_game() -> None:
    for secret in NUMBERS:
        low, high, game = 0, 14, GuessingGame()
        game.reset(PROMPT, 0)
        game.secret = NUMBERS.index(secret)
        for _ in range(4):
            middle = (low + high) // 2
            reply = game.step(f" {NUMBERS[middle]}.")
            if reply.end:
                break
            low, high = (middle + 1, high) if game.secret > middle else (low, middle - 1)
        assert reply.columns == {"won": 1.0, "wasted": 0.0}, secret


def test_twice_chance_needs_the_feedback() -> None:
    """Without feedback four different guesses win at most 4/15, below twice chance; with it all can be won."""
    assert 4 / 15 < 2 * chance(15, 4) < consistent(15, 4) < best(15, 4)
