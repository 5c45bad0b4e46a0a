"""Prompts and completions drawn at random, with texts that spreadsheets and JSON could take for something else."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns
from preflab.store.formats.fields import imported

TRICKY = (
    "=1+1", "'=x", "''-2", "' @", "+49 30", "a,b;c\td|e", 'say "no"', "line\r\nline", "\rx", "N/A", "null",
    "prompt", '[{"role": "user", "content": "x"}]', '[{"a": 1}]', "{}", "\ufeffmark", "\u2028x", "\x85x",
    "\x00x", "ä😀", "  spaced  ", "\n\nHuman: x\n\nAssistant: y", "true", "1.0", "[]", '"', "\\", "\\ud83d",
    "<b>x</b>", "model_a", "F", "- a\n- b",
)  # fmt: skip
LETTERS = "abcdefg ABC .,;:'\"\\/\n\t{}[]|=+-@#äöüßéñ中文字אבгде😀🎉\u200d\u0301"


class Drawn:
    """A stream of records that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def maybe(self, share: float = 0.5) -> bool:
        return self.random.random() < share

    def words(self, plain: bool = False) -> str:
        """A text that is not blank; a plain one has no spaces around it, which transcripts have of their own."""
        if plain:
            return self.words().strip() or "x"
        if self.maybe(0.4):
            return self.random.choice(TRICKY)
        text = "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(1, 15)))
        return text if text.strip() else "x"

    def value(self, depth: int = 1) -> Any:
        """A JSON value; objects in it have no nulls, which columns of files cannot tell from absence."""
        kinds = [self.words, lambda: self.random.randint(-9, 9), lambda: self.random.uniform(-9, 9), self.maybe]
        if depth:
            kinds += [lambda: [self.value(depth - 1) for _ in range(2)], lambda: self.object(depth - 1)]
        return self.random.choice(kinds)()

    def object(self, depth: int = 1) -> dict[str, Any]:
        return {self.random.choice("zayb"): self.value(depth) for _ in range(self.random.randint(0, 3))}

    def call(self) -> ToolCall:
        arguments = json.dumps(self.object(), ensure_ascii=False)
        return ToolCall(self.words(), arguments, self.random.choice(["", "c1"]))

    def answer_turn(self, plain: bool) -> Message:
        """A turn of the assistant's: words, calls, thinking."""
        if plain or self.maybe():
            return Message("assistant", self.words(plain))
        calls = tuple(self.call() for _ in range(self.random.randint(0, 2)))
        words = "" if calls and self.maybe() else self.words()
        return Message("assistant", words, self.random.choice(["", "Hm."]), calls)

    def chat(self, plain: bool = False) -> Prompt:
        """A conversation that waits for the assistant; plain ones have words alone."""
        turns = [Message("system", self.words(plain))] * self.maybe()
        for _ in range(self.random.randint(0, 2)):
            turns += [Message("user", self.words(plain)), self.answer_turn(plain)]
            if turns[-1].tool_calls:
                turns.append(Message("tool", self.words(), name="t", tool_call_id="c1"))
        turns.append(Message("user", self.words(plain), name="anna" if not plain and self.maybe(0.2) else ""))
        columns: dict[str, Any] = {}
        if not plain and self.maybe():
            columns["tools"] = [{"type": "function", "function": {"name": self.words(), "parameters": self.object()}}]
        if not plain and self.maybe(0.3):
            columns["chat_template_kwargs"] = {"enable_thinking": self.maybe()}
        return Prompt.make(messages=tuple(turns), columns=columns)

    def text(self) -> Prompt:
        return Prompt.make(text=self.words())

    def prompts(self, form: str, num: int) -> list[Prompt]:
        """Different prompts: `text`, `chat`, `plain` (chats of words alone), or `both`."""
        makers = {"text": self.text, "chat": self.chat, "plain": lambda: self.chat(plain=True)}
        makers["both"] = lambda: self.random.choice([self.text, self.chat])()
        found: dict[str, Prompt] = {}
        while len(found) < num:
            made = makers[form]()
            found.setdefault(made.id, made)
        return list(found.values())

    def completion(self, prompt: Prompt, model: str, plain: bool = False) -> Completion:
        """A completion in the prompt's form, as an import makes it."""
        if not prompt.messages:
            return imported(prompt, "" if self.maybe(0.1) else self.words(), model)
        turns = [self.answer_turn(plain)]
        if not plain and self.maybe():
            turns += [Message("user", self.words()), self.answer_turn(plain)]
        learned = [turn.role == "assistant" and (place > 0 or self.maybe(0.7)) for place, turn in enumerate(turns)]
        learned[-1] = True
        return imported(prompt, spans_of_turns(turns, learned), model)

    def completions(self, prompt: Prompt, model: str, num: int, plain: bool = False) -> list[Completion]:
        """Different completions of a prompt."""
        found: dict[str, Completion] = {}
        while len(found) < num:
            made = self.completion(prompt, model, plain)
            found.setdefault(made.id, made)
        return list(found.values())
