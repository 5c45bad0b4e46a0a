"""Renders untrusted content as harmless HTML: plain text, Markdown, code, chat turns, images, clips."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from html import unescape
from typing import Any

from markupsafe import Markup, escape

from preflab.clips import COLUMN, clip_in
from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt
from preflab.store.images import IMAGE_NAME
from preflab.web.clips import rendered_clip
from preflab.web.markdown import markdown_html

LONG = 8_000
"""Characters up to which a text is shown whole; a longer text is folded."""
BEGINNING = 3_000
"""Characters of a folded text that are shown."""
MARKDOWN_LIMIT = 64_000
"""Characters up to which Markdown is formatted; a longer text is shown as source, since parsing hostile Markdown of
that length takes too long."""
ROLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufff9-\ufffb\ufeff\u2028\u2029]")
ISOLATES = re.compile("[\u061c\u200b-\u200f\u2060-\u2069]")
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters that are drawn as blanks."""
TAG = re.compile("<[^>]*>")
DRAWN = re.compile("<hr|<math")


def rendered(text: str, content: str = "plain", *, fold: bool = True, document: bool = False, top: int = 3) -> Markup:
    """A text as a block of HTML.

    Args:
        text: text by a person or a model.
        content: `plain`, `markdown`, `code`, `chat` (Markdown, one turn) or `image` (the name of an image's file).
        fold: whether to fold a long text, so that only its beginning is shown at first; False for instructions.
        document: whether a single line break in Markdown is a space, as in instructions whose lines an editor wrapped.
        top: the level of the highest headings of Markdown.
    """
    if shows_nothing(visible(text, code=content == "code")):
        return _empty_note(text)
    if content == "image":
        return _image(text)
    body = _block(text, content, document, top)
    if len(text) <= LONG or not fold:
        return body
    beginning = _block(text[:BEGINNING], "code" if content == "code" else "plain")
    return Markup(
        '<div class="folded"><div class="beginning">{}<p class="quiet">…</p></div>'
        '<details class="whole"><summary>Show all {:,} characters</summary>{}</details></div>'
    ).format(beginning, len(text), body)


def instructions(text: str, top: int = 3) -> Markup:
    """A lead's instructions, rendered as Markdown without folding; empty if there are none."""
    return rendered(text, "markdown", fold=False, document=True, top=top) if text.strip() else Markup("")


def rendered_prompt(prompt: Prompt, content: str = "plain") -> Markup:
    """A prompt as HTML: its text, or its turns one below the other with the tools that may be called."""
    inner = "plain" if content in ("image", "code", "playout") else content
    if not prompt.messages:
        return rendered(prompt.text, inner)
    turns = _turns([_turn(message, inner) for message in prompt.messages])
    return turns + _tools(prompt.columns.get("tools"))


def rendered_completion(completion: Completion, content: str = "plain") -> Markup:
    """A completion as HTML, with spans, tool calls and thinking marked as such, without the name of the model.

    A dialogue ends with the environment's last turn, which no model reads but people should.
    """
    if content == "playout":
        return _clip(completion)
    spans = completion.shown_spans
    if content == "image" or (len(spans) == 1 and not completion.turns):
        return rendered(completion.text, content)
    return _turns([_turn(span.message or Message(span.role, span.text), content) for span in spans])


def visible(text: str, *, code: bool = False) -> str:
    """The text with control characters and direction overrides made visible, and lone surrogates replaced.

    Direction marks that right-to-left languages need stay as they are, except in code, where they could deceive.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    text = CONTROLS.sub(_visible_name, text)
    return ISOLATES.sub(_visible_name, text) if code else text


def shows_nothing(shown: str) -> bool:
    """Whether a text looks empty: it has only white space, characters without width and blank letters."""
    return all(letter.isspace() or letter in BLANKS or unicodedata.category(letter) == "Cf" for letter in shown)


def _empty_note(text: str) -> Markup:
    """A note that a text is empty, in a style that no text can imitate."""
    why = "only white space was written" if text else "nothing was written"
    return Markup('<p class="nothing">(empty)<span class="spoken">: {}</span></p>').format(why)


def _visible_name(match: re.Match[str]) -> str:
    """A visible stand-in for a control character: its Unicode picture, or its code point."""
    point = ord(match.group())
    if point < 0x20:
        return chr(0x2400 + point)
    return "\u2421" if point == 0x7F else f"⟦U+{point:04X}⟧"


def _block(text: str, content: str, document: bool = False, top: int = 3) -> Markup:
    if content == "code":
        return Markup('<pre class="text code" dir="ltr"><code>{}</code></pre>').format(visible(text, code=True))
    if content in ("markdown", "chat") and len(text) <= MARKDOWN_LIMIT:
        html = markdown_html(visible(text), document, top)
        # Some Markdown, such as a definition or an empty heading, shows nothing: then the source is shown.
        if DRAWN.search(html) or not shows_nothing(unescape(TAG.sub("", html))):
            return Markup('<div class="text marked" dir="auto">{}</div>').format(html)
    return Markup('<div class="text" dir="auto">{}</div>').format(visible(text))


def _turns(turns: list[Markup]) -> Markup:
    return Markup('<div class="turns">{}</div>').format(Markup("").join(turns))


def _turn(message: Message, content: str) -> Markup:
    """One turn: the speaker, then thinking, text and tool calls. An assistant's name may be a model's and is hidden."""
    role = message.role
    speaker = Markup(ROLES.get(role, role))
    if message.name and role != "assistant":
        speaker += Markup(" ") + isolated(message.name)
    parts = [_inside("thinking", Markup("Thinking"), rendered(message.reasoning, content))] * bool(
        message.reasoning.strip()
    )
    calls = [
        _inside("call", Markup("Calls {}").format(isolated(call.name)), _json(call.arguments))
        for call in message.tool_calls
    ]
    if message.content.strip() or not (parts or calls):
        parts.append(rendered(message.content, content))
    return Markup('<div class="turn {}"><p class="speaker">{}</p>{}</div>').format(
        role if role in ROLES else "other", speaker, Markup("").join([*parts, *calls])
    )


def _inside(kind: str, title: Markup, body: Markup) -> Markup:
    return Markup('<div class="{}"><p class="speaker">{}</p>{}</div>').format(kind, title, body)


def _json(text: str) -> Markup:
    """JSON as a block of code, indented."""
    with contextlib.suppress(ValueError):
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return rendered(text, "code")


def _tools(tools: Any) -> Markup:
    """The names of a prompt's tools, with their schemas folded."""
    if not isinstance(tools, list) or not tools:
        return Markup("")
    functions = [tool.get("function", tool) if isinstance(tool, dict) else {} for tool in tools]
    names = Markup(", ").join(isolated(str(function.get("name", "?"))) for function in functions)
    return Markup('<details class="tools"><summary>Tools that may be called: {}</summary>{}</details>').format(
        names, _json(json.dumps(tools, ensure_ascii=False))
    )


def _image(name: str) -> Markup:
    if IMAGE_NAME.fullmatch(name.strip()):
        link = (
            '<a class="enlarge" href="/image/{0}" target="_blank">'
            '<img class="image" src="/image/{0}" alt="The image to judge"><span class="spoken">, enlarge</span></a>'
        )
        return Markup(link).format(name.strip())
    return Markup('<p class="quiet">No image of the workspace:</p>{}').format(_block(name, "plain"))


def _clip(completion: Completion) -> Markup:
    """The clip of a playout; a note and the words if there is none, or one that does not fit them."""
    try:
        return rendered_clip(clip_in(completion.columns.get(COLUMN), completion.text))
    except PreflabError as error:
        note = Markup('<p class="nothing">No clip can be shown: {}</p>').format(visible(error.found, code=True))
        return note + rendered(completion.text)


EMPTY = Markup('<span class="nothing">(empty)</span>')
"""A note for an empty text in a list."""


def isolated(text: str) -> Markup:
    """An untrusted short text, such as a name, isolated so that it cannot change the text direction around it."""
    return Markup("<bdi>{}</bdi>").format(escape(visible(text, code=True)))
