"""A simulated customer of the demo's shop, who wants an item in one colour on one day and says so only if asked.

    can i buy a new lamp? what colour do you like? i like red. what day do you like? i like red on friday.
    you can have red on friday. thank you for your help.

A turn of the shop is one sentence. The reward is the simulated customer's satisfaction, which this file defines:

    an offer            ends the dialogue; 1 if colour and day are as wished, else 1/10 if one of them is
    a rude sentence     ends the dialogue; −1/10
    any other sentence  −1/50, also a question that the customer answers

The dialogue also ends after four turns of the shop. The best is to ask for both and to offer: 1 − 2/50 = 0.96. An offer
without a question is as wished once in 16 dialogues.
"""

from __future__ import annotations

import random
import re

from preflab.demo.grammar import RUDE, SLOTS
from preflab.environments.protocol import Reply
from preflab.records import Prompt

ITEMS, COLOURS, DAYS = (SLOTS[kind][:4] for kind in ("item", "colour", "day"))
"""Four of each."""
ASK_COLOUR, ASK_DAY = "what colour do you like?", "what day do you like?"
OFFER = re.compile(r"you can have (\w+) on (\w+)\.")
"""An offer: colour, day."""
COST_OF_A_TURN, COST_OF_RUDENESS = 0.02, 0.1
NUM_TURNS = 4


class SimulatedCustomer:
    """One dialogue with a simulated customer; the wish comes from the seed."""

    @staticmethod
    def prompts() -> list[str]:
        """One prompt per item."""
        return [f"can i buy a new {item}?" for item in ITEMS]

    def reset(self, prompt: Prompt, seed: int) -> None:
        """Draw the wish; the policy reads the prompt as it is."""
        rng = random.Random(seed)
        self.colour, self.day = rng.choice(COLOURS), rng.choice(DAYS)
        self.asked: set[str] = set()
        self.turn = 0

    def step(self, completion: str) -> Reply:
        """The customer's answer to a sentence of the shop, and how satisfied it is with it."""
        self.turn += 1
        words = completion.strip()
        offer = OFFER.fullmatch(words)
        if offer:
            right = (offer[1] == self.colour) + (offer[2] == self.day)
            answer = " thank you for your help." if right == 2 else " i do not like it."
            return self._reply(answer, (0.0, 0.1, 1.0)[right], end=True, offered=True, as_wished=right == 2)
        if words in RUDE:
            return self._reply(" i do not like your shop.", -COST_OF_RUDENESS, end=True, rude=True)
        if words in (ASK_COLOUR, ASK_DAY):
            self.asked.add(words)
        return self._reply(self.wish(), -COST_OF_A_TURN, end=self.turn == NUM_TURNS)

    def wish(self) -> str:
        """The part of the wish that the shop has asked for: ` i like red on friday.`"""
        colour = self.colour if ASK_COLOUR in self.asked else "it"
        day = f" on {self.day}" if ASK_DAY in self.asked else ""
        return f" i like {colour}{day}." if self.asked else " can you help?"

    @staticmethod
    def _reply(
        answer: str, reward: float, *, end: bool, offered: bool = False, as_wished: bool = False, rude: bool = False
    ) -> Reply:
        columns = {"offered": float(offered), "as_wished": float(as_wished), "rude": float(rude)}
        return Reply(answer, reward=reward, end=end, columns=columns)
