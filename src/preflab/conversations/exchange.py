"""A conversation that goes on: the words of each sampled turn, and the tokens between one turn and the next.

The sampled tokens are kept as they are; only what comes between two turns of the policy is written, by the template:
the end of a turn that was cut, the other side's turn, and the opening of the next one. Without a template the other
side's text follows the policy's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from preflab.conversations.joining import Ids, Joining
from preflab.conversations.template import where
from preflab.conversations.thinking import MARK
from preflab.conversations.turns import Opens, Turns, Unstable
from preflab.errors import PreflabError
from preflab.messages import Message
from preflab.records import Prompt


class Exchange:
    """The turns after one prompt.

    Args:
        prompt: the prompt, spelled (`spelling`).
        joining: of the renderer.
        opens: gives the text of turns up to the assistant's words; None without a template.
        spelled: puts breaks into a turn's spellings of special tokens.
        is_end: True for tokens that end a turn, also those that only the recipe names.
        closes: True for tokens that end a turn in the template.
    """

    def __init__(
        self,
        prompt: Prompt,
        joining: Joining,
        opens: Opens | None,
        spelled: Callable[[Message], Message],
        is_end: Callable[[int], bool],
        closes: Callable[[int], bool],
    ) -> None:
        self.prompt, self.joining, self.opens, self.spelled = prompt, joining, opens, spelled
        self.is_end, self.closes = is_end, closes
        self.before = list(prompt.messages)
        self.writer: Turns | None = opens(self.before)[1] if opens else None

    def words(self, ids: Sequence[int]) -> str:
        """The words of the turn that was sampled last."""
        ids = tuple(ids)
        ended = bool(ids) and self.is_end(ids[-1])
        if self.writer is None:
            return self.joining.text(ids[:-1] if ended else ids)
        return self.writer.words(ids, ended=ended)

    def reply(self, ids: Sequence[int], turn: str) -> Ids:
        """The tokens after a sampled turn up to the words of the next: its end if it was cut, `turn`, the opening.

        Raises:
            PreflabError: the template refuses the turn, loses its words, or writes other text in place of the end.
        """
        closed = bool(ids) and self.closes(ids[-1])
        answer = self.spelled(Message("user", turn))
        if self.opens is None or self.writer is None:
            return self.joining.continued("a", answer.content)
        self.before += [Message("assistant", MARK), answer]
        opened, following = self.opens(self.before)
        after = opened.rpartition(MARK)[2]
        close = self.writer.frame.close
        if MARK not in opened or not after.startswith(close):
            raise Unstable(
                f"{where(self.prompt)}: the chat template does not write the end of the assistant's turn as the model "
                "writes it when another turn follows",
                "a template whose conversations go on after an answer",
                "train on single turns with this model, or use one with another template",
            )
        if answer.content.strip() not in after:
            raise PreflabError(
                f"{where(self.prompt)}: the chat template does not write the turn {turn!r:.60}",
                "a template that writes every turn",
                "change the environment's turn, or the model's template",
            )
        end = () if closed else self.writer.close_ids
        self.writer = following
        return (*end, *self.joining.continued(f"a{close}", after.removeprefix(close)))


def refuse_apart(apart: bool, name: str = "the model") -> None:
    """Refuse an encoder–decoder for episodes: nothing can follow its completion.

    Raises:
        PreflabError: the model's encoder reads the prompt (`apart`); the message begins with `name`.
    """
    if apart:
        raise PreflabError(
            f"{name} is an encoder–decoder, and an environment answers it",
            "a decoder, which reads its own turns and the answers as one text",
            "use a causal language model",
        )
