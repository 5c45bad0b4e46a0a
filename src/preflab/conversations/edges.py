"""Where the words of an assistant's turn begin and end: lead and close, in text and in tokens."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.conversations.joining import Ids, Joining
from preflab.conversations.thinking import NO_THINKING, THINKING_TAGS, ThinkingForm
from preflab.conversations.turn_ends import Frame
from preflab.records import Message


@dataclass(frozen=True)
class Edges:
    """What puts lead and close around words, and takes them off."""

    joining: Joining
    frame: Frame
    stops: tuple[int, ...]
    """Tokens that end turns."""

    @property
    def form(self) -> ThinkingForm | None:
        """How thinking is written: as the template writes it, else as the generation prompt that opens it begins."""
        opener = self.frame.opener
        if self.frame.form or not opener:
            return self.frame.form
        return ThinkingForm(opener, f"{opener[len(opener.rstrip()) :]}{THINKING_TAGS[opener.strip()]}\n\n")

    def after_opener(self, words: str) -> str:
        """An answer that thinks, without the opening tag that the generation prompt writes."""
        opener = self.frame.opener
        if not opener or not words.lstrip().startswith(opener.strip()):
            return words
        rest = words.lstrip()[len(opener.strip()) :]
        return rest.removeprefix(opener[len(opener.rstrip()) :])

    def brings_lead(self, turn: Message) -> bool:
        """Whether words hold special tokens of the lead: the model wrote channels of its own, which the template would
        write into one of its own."""
        if turn.tool_calls or turn.reasoning or NO_THINKING.match(self.frame.lead or ""):
            return False
        marks = [token for token in self.lead_ids if token in self.joining.special_ids]
        return any(mark in turn.content for mark in self.joining.tokenizer.convert_ids_to_tokens(marks))

    @property
    def lead_ids(self) -> Ids:
        """Tokens of a lead with more than white space in it."""
        lead = self.frame.lead or ""
        return self.joining.continued("a:", lead) if lead.strip() else ()

    def with_end(self, text: str, turn: Message) -> str:
        """A turn's text with the mark that ends it where the template writes that with the next turn alone."""
        calls = self.frame.calls
        closing = self.joining.tokenizer.convert_ids_to_tokens(list(calls.inner_ids))
        is_call = turn.tool_calls or any(turn.content.rstrip().endswith(mark) for mark in closing)
        added = calls.added if is_call else self.frame.added
        return text if self.has_end(text) else text + added

    def verbatim(self, words: str, *, ended: bool) -> Ids | None:
        """Words that a policy wrote, letter for letter between lead and close; None: no answer begins like this."""
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
        """Sampled tokens with the close of the template's turns instead of the stop token they end with.

        An end that the template gives turns with calls stays: these ids may be a call.
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
        """Tokens of the close, the end included."""
        end = self.frame.end_id
        if end is None:
            return (*self.joining.continued("a", self.frame.close), int(self.joining.tokenizer.eos_token_id))
        return self.joining.continued("a", self.frame.close)

    def words(self, ids: Ids, *, ended: bool, continues: bool = False) -> str:
        """The words of a sampled turn, without lead and close; thinking that the generation prompt opened is opened."""
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
        """The close without its end, as it stands in the text of sampled tokens."""
        return self._spelled(self.close_ids[:-1])

    def _spelled(self, ids: Ids) -> str:
        return self.joining.spelled(ids, self.joining.marks.within(THINKING_TAGS))

    def without_end(self, text: str, turn: Message) -> str:
        """A turn's text up to where the assistant was cut; white space that the template took off is there again."""
        body = self.until_end(text)
        ends = [self.frame.close, *self.marks]
        body = body.removesuffix(next((end for end in ends if end and body.endswith(end)), ""))
        words = turn.content
        if turn.tool_calls or body.endswith(words) or not body.endswith(words.rstrip()):
            return body
        return body + words[len(words.rstrip()) :]

    def until_end(self, text: str) -> str:
        """A turn's text up to its end, without what opens the next turn."""
        if self.has_end(text):
            return text[: min(text.find(mark) + len(mark) for mark in self.marks if mark in text)]
        rest = self.frame.rest
        return text[: -len(rest)] + self.frame.close if rest and text.endswith(rest) else text

    def has_end(self, text: str) -> bool:
        """Whether a text holds the text of a token that ends turns."""
        return any(mark in text for mark in self.marks)

    @property
    def marks(self) -> list[str]:
        """The texts of the tokens that end turns."""
        marks = [self.joining.tokenizer.convert_ids_to_tokens(token) for token in self.stops]
        return [mark for mark in marks if mark]
