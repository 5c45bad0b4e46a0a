"""Add and remove lead and close, the text and tokens around the words of an assistant's turn."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.conversations.joining import Ids, Joining
from preflab.conversations.thinking import NO_THINKING, THINKING_TAGS, ThinkingForm
from preflab.conversations.turn_ends import Frame
from preflab.records import Message


@dataclass(frozen=True)
class Edges:
    """Adds lead and close to the words of a turn, and removes them."""

    joining: Joining
    frame: Frame
    stops: tuple[int, ...]
    """Tokens that end turns."""

    @property
    def form(self) -> ThinkingForm | None:
        """The form of thinking: the template's, else one made from the opening tag of the generation prompt."""
        opener = self.frame.opener
        if self.frame.form or not opener:
            return self.frame.form
        return ThinkingForm(opener, f"{opener[len(opener.rstrip()) :]}{THINKING_TAGS[opener.strip()]}\n\n")

    def after_opener(self, words: str) -> str:
        """The words without an opening tag of thinking that the generation prompt already contains."""
        opener = self.frame.opener
        if not opener or not words.lstrip().startswith(opener.strip()):
            return words
        without_tag = words.lstrip()[len(opener.strip()) :]
        return without_tag.removeprefix(opener[len(opener.rstrip()) :])

    def brings_lead(self, turn: Message) -> bool:
        """Whether the words contain special tokens of the lead: the model wrote its own channels, and the template
        would put them inside another channel."""
        if turn.tool_calls or turn.reasoning or NO_THINKING.match(self.frame.lead or ""):
            return False
        marks = [token for token in self.lead_ids if token in self.joining.special_ids]
        return any(mark in turn.content for mark in self.joining.tokenizer.convert_ids_to_tokens(marks))

    @property
    def lead_ids(self) -> Ids:
        """Tokens of the lead; () if it is only white space."""
        lead = self.frame.lead or ""
        return self.joining.continued("a:", lead) if lead.strip() else ()

    def with_end(self, text: str, turn: Message) -> str:
        """A turn's text with its end mark, which some templates write only when another turn follows."""
        calls = self.frame.calls
        closing = self.joining.tokenizer.convert_ids_to_tokens(list(calls.inner_ids))
        is_call = turn.tool_calls or any(turn.content.rstrip().endswith(mark) for mark in closing)
        added = calls.added if is_call else self.frame.added
        return text if self.has_end(text) else text + added

    def verbatim(self, words: str, *, ended: bool) -> Ids | None:
        """Tokens of a policy's words, unchanged, between lead and close; None if no answer can begin like this."""
        begun = self.after_opener(words)
        if self.frame.opener and begun == words:
            return None
        lead = "" if self.frame.opener else self.frame.lead
        if lead is None:
            return None
        before = self.joining.continued("a", lead) if lead.strip() else ()
        ids = self.joining.continued("a", begun if lead.strip() else lead + begun)
        return (*before, *ids, *(self.close_ids if ended else ()))

    def closed(self, ids: Ids) -> Ids:
        """Sampled tokens with the template's close in place of their stop token.

        A stop token that ends turns with calls is kept, since these ids may be a call.
        """
        calls = self.frame.calls
        if ids[-1] != self.frame.end_id and ids[-1] in (calls.end_id, *calls.inner_ids):
            return ids
        if self.frame.end_id is None and ids[-1] == self.joining.tokenizer.eos_token_id:
            return ids
        close = self.close_ids
        body = ids[:-1]
        before_end = close[:-1]
        if before_end and body[-len(before_end) :] == before_end:
            body = body[: -len(before_end)]
        return (*body, *close)

    @property
    def close_ids(self) -> Ids:
        """Tokens of the close, including the end token."""
        end = self.frame.end_id
        if end is None:
            return (*self.joining.continued("a", self.frame.close), int(self.joining.tokenizer.eos_token_id))
        return self.joining.continued("a", self.frame.close)

    def words(self, ids: Ids, *, ended: bool, continues: bool = False) -> str:
        """The words of a sampled turn without lead and close; a tag of thinking from the generation prompt is added."""
        body = ids[:-1] if ended and ids[-1] not in self.frame.calls.inner_ids else ids
        own_lead = self.frame.lead or ""
        lead = self.lead_ids
        has_lead = bool(lead) and body[: len(lead)] == lead
        text = self._spelled(body[len(lead) :] if has_lead else body)
        if ended:
            text = text.removesuffix(self._plain_close)
        if continues or has_lead:
            return text
        if self.frame.opener:
            return self.frame.opener + text
        return text if own_lead.strip() else text.removeprefix(own_lead)

    @property
    def _plain_close(self) -> str:
        """The text of the close without its end token."""
        return self._spelled(self.close_ids[:-1])

    def _spelled(self, ids: Ids) -> str:
        return self.joining.spelled(ids, self.joining.marks.within(THINKING_TAGS))

    def without_end(self, text: str, turn: Message) -> str:
        """The text of a cut turn without its close; trailing white space that the template removed is restored."""
        body = self.until_end(text)
        ends = [self.frame.close, *self.marks]
        body = body.removesuffix(next((end for end in ends if end and body.endswith(end)), ""))
        words = turn.content
        if turn.tool_calls or body.endswith(words) or not body.endswith(words.rstrip()):
            return body
        return body + words[len(words.rstrip()) :]

    def until_end(self, text: str) -> str:
        """A turn's text up to its end, without the text that opens the next turn."""
        if self.has_end(text):
            return text[: min(text.find(mark) + len(mark) for mark in self.marks if mark in text)]
        rest = self.frame.rest
        return text[: -len(rest)] + self.frame.close if rest and text.endswith(rest) else text

    def has_end(self, text: str) -> bool:
        """Whether a text contains the text of a token that ends turns."""
        return any(mark in text for mark in self.marks)

    @property
    def marks(self) -> list[str]:
        """The texts of the tokens that end turns."""
        marks = [self.joining.tokenizer.convert_ids_to_tokens(token) for token in self.stops]
        return [mark for mark in marks if mark]
