"""What strangers wrote, as HTML that can do nothing: plain text, Markdown, code, chat turns, images."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from html import unescape
from typing import Any

from markupsafe import Markup, escape

from preflab.records import Completion, Message, Prompt
from preflab.store.images import IMAGE_NAME
from preflab.web.markdown import markdown_html

LONG = 8_000
"""Characters shown at once; a longer text is shown whole behind a fold."""
BEGINNING = 3_000
"""Characters of a long text shown before the fold."""
MARKDOWN_LIMIT = 64_000
"""A longer text is shown as it was written: nobody reads it formatted, and parsing hostile Markdown takes long."""
ROLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufff9-\ufffb\ufeff\u2028\u2029]")
ISOLATES = re.compile("[\u061c\u200b-\u200f\u2060-\u2069]")
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters that draw nothing."""
TAG = re.compile("<[^>]*>")
DRAWN = re.compile("<hr|<math")


def rendered(text: str, content: str = "plain", *, fold: bool = True, document: bool = False, top: int = 3) -> Markup:
    """A text as a block of HTML.

    Args:
        text: what a person or a model wrote.
        content: `plain`, `markdown`, `code`, `chat` (Markdown, one turn) or `image` (the name of an image's file).
        fold: show the beginning of a long text and the whole of it on demand; off for instructions.
        document: its lines may have been wrapped by an editor, as those of instructions: in Markdown a single line
            break is a space.
        top: the level of the highest headings of Markdown.
    """
    if shows_nothing(visible(text, code=content == "code")):
        return _nothing(text)
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
    """A lead's instructions: Markdown from a file or a field, whole, or nothing where there are none."""
    return rendered(text, "markdown", fold=False, document=True, top=top) if text.strip() else Markup("")


def rendered_prompt(prompt: Prompt, content: str = "plain") -> Markup:
    """A prompt: its text, or its turns one below the other, and the tools that may be called."""
    inner = "plain" if content in ("image", "code") else content
    if not prompt.messages:
        return rendered(prompt.text, inner)
    turns = _turns([_turn(message, inner) for message in prompt.messages])
    return turns + _tools(prompt.columns.get("tools"))


def rendered_completion(completion: Completion, content: str = "plain") -> Markup:
    """A completion; several spans, calls of tools and thinking are told apart. The model's name is not among it."""
    if content == "image" or (len(completion.spans) == 1 and not completion.turns):
        return rendered(completion.text, content)
    return _turns([_turn(span.message or Message(span.role, span.text), content) for span in completion.spans])


def visible(text: str, *, code: bool = False) -> str:
    """The text with control characters and direction overrides written out, and halves of characters replaced.

    Direction marks that right-to-left languages need stay as they are, except in code, where they deceive.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    text = CONTROLS.sub(_named, text)
    return ISOLATES.sub(_named, text) if code else text


def shows_nothing(shown: str) -> bool:
    """Whether nothing of a text is seen: white space, marks without a width, letters that draw nothing."""
    return all(each.isspace() or each in BLANKS or unicodedata.category(each) == "Cf" for each in shown)


def _nothing(text: str) -> Markup:
    """Says that a text is empty, in another style than a text that says so."""
    why = "only white space was written" if text else "nothing was written"
    return Markup('<p class="nothing">(empty)<span class="spoken">: {}</span></p>').format(why)


def _named(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point < 0x20:
        return chr(0x2400 + point)
    return "\u2421" if point == 0x7F else f"⟦U+{point:04X}⟧"


def _block(text: str, content: str, document: bool = False, top: int = 3) -> Markup:
    if content == "code":
        return Markup('<pre class="text code" dir="ltr"><code>{}</code></pre>').format(visible(text, code=True))
    if content in ("markdown", "chat") and len(text) <= MARKDOWN_LIMIT:
        html = markdown_html(visible(text), document, top)
        # A definition or an empty heading is Markdown that shows nothing: the text is shown as it was written.
        if DRAWN.search(html) or not shows_nothing(unescape(TAG.sub("", html))):
            return Markup('<div class="text marked" dir="auto">{}</div>').format(html)
    return Markup('<div class="text" dir="auto">{}</div>').format(visible(text))


def _turns(turns: list[Markup]) -> Markup:
    return Markup('<div class="turns">{}</div>').format(Markup("").join(turns))


def _turn(message: Message, content: str) -> Markup:
    """Who speaks, and below it thinking, words and calls of tools; an assistant's own name could tell its model."""
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
    """JSON as code, one key per line."""
    with contextlib.suppress(ValueError):
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    return rendered(text, "code")


def _tools(tools: Any) -> Markup:
    """The tools of a prompt, by name, their schemas behind a fold."""
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


EMPTY = Markup('<span class="nothing">(empty)</span>')
"""An empty text in a line of a list."""


def isolated(text: str) -> Markup:
    """A name or another short text of somebody's within a sentence, unable to turn its neighbours round."""
    return Markup("<bdi>{}</bdi>").format(escape(visible(text, code=True)))
