"""What strangers wrote comes out inert, whole and readable."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt, Span, ToolCall, spans_of_turns
from preflab.store.images import add_image, read_image
from preflab.web.rendering import instructions, isolated, rendered, rendered_completion, rendered_prompt, visible

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<style>*{display:none}</style>",
    "<iframe src=https://evil.example></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:x)",
    "![x](https://evil.example/pixel.png)",
    "![x](/image/x.svg)",
    "[x](/signout)",
    "[x](//evil.example)",
    "[x](https://ok.example 'onmouseover=alert(1)')",
    '<https://ok.example/"onmouseover=alert(1)>',
    "`<script>`",
    "```\n<script>\n```",
    '```html" onload=alert(1)\n<b>\n```',
    "|<script>|b|\n|-|-|\n|<img src=x>|2|",
    "&lt;script&gt;",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<form action=https://evil.example><button>",
    "</div></main></body>",
    "<base href=https://evil.example>",
]
ALLOWED = {
    "div", "p", "br", "hr", "h3", "h4", "h5", "h6", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li",
    "a", "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
}  # fmt: skip
ATTRIBUTES = {"class", "dir", "href", "rel", "target", "start"}


class Seen(HTMLParser):
    """Tags and attributes of a piece of HTML, and whether its tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("content", ["plain", "markdown", "code", "chat", "image"])
@pytest.mark.parametrize("length", ["short", "folded"])
def test_hostile_texts_come_out_inert(text: str, content: str, length: str) -> None:
    whole = text if length == "short" else f"{text}\n\n" + "words " * 2000
    seen = Seen(rendered(whole, content))
    assert not seen.open
    assert set(seen.tags) <= ALLOWED
    assert {name for name, _ in seen.attributes} <= ATTRIBUTES
    for name, value in seen.attributes:
        assert name != "href" or re.match(r"https?://|mailto:", value or "")
        assert name != "rel" or value == "noopener noreferrer nofollow"


@pytest.mark.parametrize("content", ["plain", "code"])
def test_plain_texts_are_shown_as_they_were_written(content: str) -> None:
    for text in HOSTILE:
        assert Seen(rendered(text, content)).text == text


def test_markdown_is_formatted_below_the_pages_own_headings() -> None:
    html = rendered("# Title\n\n- *one*\n- [two](https://ok.example)\n\n|a|b|\n|-|-|\n|1|2|", "markdown")
    seen = Seen(html)
    assert "h3" in seen.tags
    assert not {"h1", "h2"} & set(seen.tags)
    assert {"em", "ul", "a", "table"} <= set(seen.tags)
    assert 'href="https://ok.example"' in html


def test_a_long_text_is_shown_whole_behind_a_fold() -> None:
    text = "".join(f"word{number} " for number in range(25_000))[:200_000]
    for content in ("plain", "markdown", "code", "chat"):
        html = rendered(text, content)
        assert "Show all 200,000 characters" in html
        folded = html.split("<details", 1)[1]
        assert text.strip() in folded.replace("\n", " ")
        assert text[:3000] in html.split("<details", 1)[0]
    assert "<details" not in rendered(text, "plain", fold=False)


def test_control_characters_are_seen_and_overrides_do_nothing() -> None:
    assert visible("a\x00b\x1b[31m\x7f\tc\n") == "a␀b␛[31m␡\tc\n"
    assert visible("a\r\nb\rc") == "a\nb␍c"
    assert visible("evil\u202egnp.exe") == "evil⟦U+202E⟧gnp.exe"
    assert visible("\ud800") == "?"
    marks = "עברית\u200f!"
    assert visible(marks) == marks  # a mark that Hebrew needs
    assert "⟦U+200F⟧" in visible(marks, code=True)
    assert 'dir="auto"' in rendered(marks)
    assert 'dir="ltr"' in rendered(marks, "code")
    assert isolated("<b>\u202e") == "<bdi>&lt;b&gt;⟦U+202E⟧</bdi>"


def test_turns_are_told_apart_and_the_model_is_not_named() -> None:
    prompt = Prompt.make(messages=(Message("system", "Be kind."), Message("user", "<b>Hi</b>")))
    html = rendered_prompt(prompt, "chat")
    assert html.index("System") < html.index("Be kind.") < html.index("User") < html.index("&lt;b&gt;Hi")
    spans = (Span("I look it up."), Span("42 km", by_policy=False, role="tool"), Span("It is 42 km."))
    completion = Completion.make(prompt.id, "", "secret-model", spans=spans)
    html = rendered_completion(completion, "chat")
    assert html.index("I look") < html.index("Tool") < html.index("42 km") < html.index("It is")
    assert "secret-model" not in html
    assert completion.id not in html


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


def test_images_are_those_of_the_workspace_alone(tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"  # what it is, its bytes say
    file.write_bytes(PNG)
    name = add_image(tmp_path, file)
    assert name.endswith(".png")
    assert add_image(tmp_path, file) == name
    assert read_image(tmp_path, name) == (PNG, "image/png")
    assert f'src="/image/{name}"' in rendered(name, "image")
    for other in ("https://evil.example/a.png", "../preflab.db", f"../images/{name}", "a.svg", f"{name}?x", "x" * 64):
        assert "<img" not in rendered(other, "image")
        assert read_image(tmp_path, other) is None


def test_what_is_no_image_is_not_taken_in_nor_served(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    with pytest.raises(PreflabError, match="not an image"):
        add_image(tmp_path, file)
    with pytest.raises(PreflabError, match="missing.png"):
        add_image(tmp_path, tmp_path / "missing.png")
    file.write_bytes(PNG)
    name = add_image(tmp_path, file)
    (tmp_path / "images" / name).write_bytes(PNG + b"changed")
    assert read_image(tmp_path, name) is None


EVIL = "<script>alert(1)</script>"
CALL = ToolCall(f"track{EVIL}", f'{{"number": 7, "note": "{EVIL}"}}', "c1")
USED = (
    Message("assistant", "", reasoning=f"I look. {EVIL}", tool_calls=(CALL,), name="secret-model"),
    Message("tool", f"In Rome. {EVIL}", name=f"track{EVIL}", tool_call_id="c1"),
    Message("assistant", "It is in Rome."),
)


@pytest.mark.parametrize("content", ["plain", "markdown", "code", "chat"])
def test_thinking_calls_and_what_tools_answer_are_told_apart_and_inert(content: str) -> None:
    tools = [{"type": "function", "function": {"name": EVIL, "description": EVIL}}, EVIL]
    asked = (
        Message("system", "Be kind."),
        Message("user", "Where?", name=f"anna{EVIL}"),
        *USED,
        Message("user", "And?"),
    )
    prompt = Prompt.make(messages=asked, columns={"tools": tools})
    completion = Completion.make(prompt.id, "", "secret-model", spans=spans_of_turns(USED))
    for html in (rendered_prompt(prompt, content), rendered_completion(completion, content)):
        seen = Seen(str(html))
        assert not seen.open
        assert set(seen.tags) <= ALLOWED | {"bdi"}
        assert "secret-model" not in html, "the assistant's name may be its model's"
        words = ["Thinking", "I look.", "Calls", "track", '"number": 7', "Tool", "In Rome.", "It is in Rome."]
        places = [seen.text.index(word) for word in words]
        assert places == sorted(places)
    html = rendered_prompt(prompt, content)
    assert "anna" in html
    assert "Tools that may be called" in html


def test_a_single_turn_with_thinking_is_no_text_with_tags() -> None:
    spans = spans_of_turns([Message("assistant", "Rome.", reasoning="I know.")])
    html = rendered_completion(Completion.make("prompt-1", "", "m", spans=spans), "chat")
    assert "&lt;think" not in html
    assert html.index("Thinking") < html.index("I know.") < html.index("Rome.")
    assert rendered_completion(Completion.make("prompt-1", "Rome.", "m"), "plain") == rendered("Rome.", "plain")


def test_the_api_gives_turns_with_all_they_hold_and_no_assistants_name() -> None:
    from preflab.web.api.shapes import MessageShape

    first, second, _ = (MessageShape.of(turn).model_dump() for turn in USED)
    assert first == {
        "role": "assistant",
        "content": "",
        "reasoning": f"I look. {EVIL}",
        "tool_calls": [{"name": CALL.name, "arguments": CALL.arguments, "id": "c1"}],
        "name": "",
        "tool_call_id": "",
    }
    assert (second["name"], second["tool_call_id"]) == (f"track{EVIL}", "c1")


EMPTY = ["", " ", "\n\t \r\n", "\u00a0\u2003", "\u200b\u200e", "\u2800\u3164"]


@pytest.mark.parametrize("text", EMPTY)
@pytest.mark.parametrize("content", ["plain", "markdown", "chat", "image"])
def test_an_empty_text_says_so(text: str, content: str) -> None:
    html = rendered(text, content)
    assert html.startswith('<p class="nothing">(empty)<span')
    assert rendered_completion(Completion.make("prompt-1", text, "m"), content) == html
    assert 'class="nothing"' not in rendered("(empty)", content)


def test_marks_that_are_written_out_in_code_are_not_nothing() -> None:
    assert "⟦U+200B⟧" in rendered("\u200b", "code")
    assert "␀" in rendered("\x00", "plain")


@pytest.mark.parametrize(
    "text", ["[a]: https://ok.example", "# ", "> ", "- ", "```\n```", "&nbsp;", "[](https://ok.example)"]
)
def test_markdown_that_shows_nothing_is_shown_as_it_was_written(text: str) -> None:
    assert Seen(rendered(text, "markdown")).text == text
    assert "<hr>" in rendered("***", "markdown")


def test_a_turn_without_words_says_so_unless_it_thinks_or_calls() -> None:
    spans = (Span("", by_policy=True), Span("x", by_policy=False, role="tool"), Span(" \n"))
    html = rendered_completion(Completion.make("prompt-1", "", "m", spans=spans), "chat")
    assert html.count("(empty)") == 2
    called = Prompt.make(messages=(Message("assistant", "", tool_calls=(CALL,)), Message("user", "")))
    assert rendered_prompt(called, "chat").count("(empty)") == 1


def test_line_breaks_are_kept_but_in_documents() -> None:
    text = "Roses are red\nViolets are blue<br>and `<br>` <b>so</b>"
    for content in ("markdown", "chat"):
        assert rendered(text, content).count("<br>") == 2
    assert instructions(text).count("<br>") == 1
    assert "<code>&lt;br&gt;</code> &lt;b&gt;so&lt;/b&gt;" in rendered(text, "markdown")
    assert rendered("a<br>\nb<BR/>c<br  />d", "markdown").count("<br>") == 3
    assert "<br>" not in rendered("$$x$$\nwhich", "markdown")


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("1. أولاً\n2. b", "rtl"),
        ("- שלום", "rtl"),
        ("1. a\n2. أولاً", "ltr"),
        ("1. `a` $b$ أولاً", "rtl"),
        ("1. 1\n2. 2", "ltr"),
    ],
)
def test_a_list_is_set_in_the_direction_of_its_first_letter(text: str, direction: str) -> None:
    assert re.search(rf'<[ou]l dir="{direction}">', rendered(text, "markdown"))
    assert "<li dir" not in rendered(text, "markdown")


def test_a_list_has_room_for_its_numbers() -> None:
    assert 'class="wide"' not in rendered("997. a\n998. b\n999. c", "markdown")
    assert 'class="wide"' in rendered("998. a\n999. b\n1000. c", "markdown")
    assert 'class="wider"' in rendered("123456789. a", "markdown")


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("## a\n### b\n# c\n#### d", "3434"),
        ("###### a", "3"),
        ("a\n=\nb\n-\n##### c\n## d", "3454"),
        ("# a\n" * 3, "333"),
    ],
)
def test_headings_leave_no_level_out(text: str, levels: str) -> None:
    html = rendered(text, "markdown")
    assert re.findall(r"<h(\d)", html) == list(levels)
    assert re.findall(r"</h(\d)", html) == list(levels)
    assert re.findall(r"<h(\d)", instructions(text, 2)) == [str(int(level) - 1) for level in levels]
