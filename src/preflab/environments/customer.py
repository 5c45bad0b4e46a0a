"""A simulated customer of the demo's shop, who wants an item in one colour on one day and first names only the item.

    can i buy a new lamp? what colour do you like? i like red. what day do you like? on friday.
    you can have the red lamp on friday. thank you for your help.

A turn of the shop is one sentence. The reward is the simulated customer's satisfaction, which this file defines:

    an offer            ends the dialogue; 1 if item, colour and day are as wished, else 1/10 for each that is
    a rude sentence     ends the dialogue; −1/10
    any other sentence  −1/50, also a question that the customer answers

The dialogue also ends after four turns of the shop. The best is to ask for both and to offer: 1 − 2/50 = 0.96.
"""

from __future__ import annotations

import random
import re

from preflab.demo.grammar import RUDE, SLOTS
from preflab.environments.protocol import Reply
from preflab.records import Prompt

ITEMS, COLOURS, DAYS = (SLOTS[kind][:4] for kind in ("item", "colour", "day"))
"""Four of each: a wish is one of 64."""
ASK_COLOUR, ASK_DAY = "what colour do you like?", "what day do you like?"
OFFER = re.compile(r"you can have the (\w+) (\w+) on (\w+)\.")
"""An offer: colour, item, day."""
COST_OF_A_TURN, COST_OF_RUDENESS = 0.02, 0.1
NUM_TURNS = 4


class SimulatedCustomer:
    """One dialogue with a simulated customer; the wish comes from the seed."""

    @staticmethod
    def prompts() -> list[str]:
        """One prompt per item."""
        return [f"can i buy a new {item}?" for item in ITEMS]

    def reset(self, prompt: Prompt, seed: int) -> None:
        """Draw colour and day of the wish; the item is in the prompt, which the policy reads as it is."""
        rng = random.Random(seed)
        self.item = prompt.text.removesuffix("?").split()[-1]
        self.colour, self.day = rng.choice(COLOURS), rng.choice(DAYS)
        self.turn = 0

    def step(self, completion: str) -> Reply:
        """The customer's answer to a sentence of the shop, and how satisfied it is with it."""
        self.turn += 1
        said = completion.strip()
        offer = OFFER.fullmatch(said)
        if offer:
            right = sum(map(str.__eq__, offer.groups(), (self.colour, self.item, self.day)))
            answer = " thank you for your help." if right == 3 else " i do not like it."
            satisfaction = 1.0 if right == 3 else right / 10
            return self._reply(answer, satisfaction, end=True, offered=True, right=right)
        if said in RUDE:
            return self._reply(" i do not like your shop.", -COST_OF_RUDENESS, end=True, rude=True)
        answers = {ASK_COLOUR: f" i like {self.colour}.", ASK_DAY: f" on {self.day}."}
        return self._reply(answers.get(said, " can you help?"), -COST_OF_A_TURN, end=self.turn == NUM_TURNS)

    @staticmethod
    def _reply(
        answer: str, reward: float, *, end: bool, offered: bool = False, right: int = 0, rude: bool = False
    ) -> Reply:
        columns = {"offered": float(offered), "all_right": float(right == 3), "rude": float(rude)}
        return Reply(answer, reward=reward, end=end, columns=columns)
