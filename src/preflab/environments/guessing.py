"""A guessing game with feedback: the secret is a number word, and each wrong guess is answered by what is known of it.

    guess my number from one to fifteen. eight. higher than eight. twelve. higher than eight and lower than twelve.
    ten. yes.

The policy's turns are `eight.`, `twelve.` and `ten.`. The environment answers with a space first, because without a
chat template its text follows the policy's as it is. The functions at the end give the exact share of games that
reference players win.
"""

from __future__ import annotations

import random
from functools import cache

from preflab.environments.protocol import Reply
from preflab.records import Prompt

NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight",
    "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
)  # fmt: skip


class GuessingGame:
    """One game: 15 numbers, four guesses. The reward is 1 for the secret, −1/2 for a guess that was ruled out before.

    The best player never makes such a guess, so the cost leaves the optimum as it is. It tells a bad guess from bad
    luck, which the win alone does only on average over many games.
    """

    num_numbers = 15
    num_guesses = 4
    cost_of_waste = 0.5
    """Subtracted for a guess that the feedback had ruled out, and for anything but one of the numbers."""

    @classmethod
    def prompts(cls) -> list[str]:
        """The one prompt of the game; the secret comes from the seed."""
        return [f"guess my number from one to {NUMBERS[cls.num_numbers - 1]}."]

    def reset(self, prompt: Prompt, seed: int) -> None:
        """Draw the secret; the policy reads the prompt as it is."""
        self.secret = random.Random(seed).randrange(self.num_numbers)
        self.low, self.high = 0, self.num_numbers - 1
        self.turn = self.num_wasted = 0

    def step(self, completion: str) -> Reply:
        """Compare the guess with the secret. Anything but one of the numbers is a guess that cannot win."""
        self.turn += 1
        word, known = completion.strip().removesuffix("."), NUMBERS[: self.num_numbers]
        guess = known.index(word) if word in known else None
        wasted = guess is None or not self.low <= guess <= self.high
        won = guess == self.secret
        self.num_wasted += wasted
        if guess is not None and guess < self.secret:
            self.low = max(self.low, guess + 1)
        elif guess is not None and guess > self.secret:
            self.high = min(self.high, guess - 1)
        return Reply(
            " yes." if won else f" {between(self.low, self.high, self.num_numbers)}.",
            reward=float(won) - self.cost_of_waste * wasted,
            end=won or self.turn == self.num_guesses,
            columns={"won": float(won), "wasted": float(self.num_wasted)},
        )


def between(low: int, high: int, num_numbers: int) -> str:
    """In words what is known of a secret from `low` to `high`, of numbers that begin with 0."""
    parts = [f"higher than {NUMBERS[low - 1]}"] if low > 0 else []
    parts += [f"lower than {NUMBERS[high + 1]}"] if high + 1 < num_numbers else []
    return " and ".join(parts) or "no"


def chance(num_numbers: int, num_guesses: int) -> float:
    """Share won by uniformly random guesses without memory: 1 − (1 − 1 / N)^G."""
    return 1 - (1 - 1 / num_numbers) ** num_guesses


@cache
def consistent(num_left: int, num_guesses: int) -> float:
    """Share won by guesses that are uniformly random among the numbers that the feedback leaves.

    With n left a guess wins with 1 / n. Else it leaves k numbers with probability k / n, below or above the guess.
    """
    if num_left == 0 or num_guesses == 0:
        return 0.0
    after = sum(
        part * consistent(part, num_guesses - 1) for guess in range(num_left) for part in (guess, num_left - 1 - guess)
    )
    return 1 / num_left + after / num_left**2


@cache
def best(num_left: int, num_guesses: int) -> float:
    """Share won by the best player, who tries every guess: min(1, (2^G − 1) / N), reached by binary search."""
    if num_left == 0 or num_guesses == 0:
        return 0.0
    below_and_above = ((guess, num_left - 1 - guess) for guess in range(num_left))
    after = max(sum(part * best(part, num_guesses - 1) for part in parts) for parts in below_and_above)
    return (1 + after) / num_left
