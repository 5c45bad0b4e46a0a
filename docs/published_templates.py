"""Tests chat templates from files and writes docs/reference/published-templates.md.

    python docs/published_templates.py FOLDER --source "the templates of …"

A template contains its special tokens but not its tokenizer. So each is tested with a tokenizer of bytes to which its
special tokens are added; the end token is the first one that the template writes after an answer.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests"), str(HERE.parent / "src")]

from generate import table  # noqa: E402
from template_table import COLUMNS, cells  # noqa: E402

from chat_templates import HELLO, HI, Family, byte_tokenizer  # noqa: E402

PAGE = HERE / "reference" / "published-templates.md"
MARK = re.compile(r"<\|?[A-Za-z_|\uff5c\u2581./:-][^<>\s'\"{}]{0,60}>|\[/?[A-Z_]{2,30}\]")
"""`<|im_end|>`, `</s>`, `[INST]` and the like."""
MARKUP = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tools>", "</tools>")
"""Tokens of some tokenizers that are not special: decoded text contains them."""
NO_END = "</s>"
HEAD = """# Published chat templates

How preflab handles {source}.
`python docs/published_templates.py FOLDER` tests the templates of a folder; none of them is part of preflab.

Each template was tested with a tokenizer of bytes and the special tokens in its text; the end token is the first one
that it writes after an answer. A model's own tokenizer may have more end tokens; `preflab check` gives the same columns
for it. They are explained in [chat templates](chat-templates.md). After `refused` comes the error of a stage before it
starts; a template that requires `tools` in every conversation is refused without them.

"""


def family(path: Path) -> Family:
    """The template of a file with its special tokens and its end token."""
    template = path.read_text(encoding="utf-8")
    marks = dict.fromkeys(MARK.findall(template))
    special = tuple(mark for mark in marks if mark not in MARKUP)
    plain = tuple(mark for mark in marks if mark in MARKUP)
    found = Family(path.stem, template, special, NO_END, "", "", "", plain=plain)
    return replace(found, eos=end_of(found))


def end_of(found: Family) -> str:
    """The first special token after an answer that another turn follows."""
    turns = [{"role": each.role, "content": each.content} for each in (HI, HELLO, HI)]
    try:
        text = str(byte_tokenizer(found).apply_chat_template(turns, tokenize=False))
    except Exception:  # noqa: BLE001 - a template may raise anything
        return NO_END
    mark = MARK.search(text.rpartition(str(HELLO.content))[2])
    return mark[0] if mark else NO_END


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of .jinja files")
    parser.add_argument("--source", required=True, help="description of the templates, for the page")
    asked = parser.parse_args()
    rows = []
    for path in sorted(asked.folder.glob("*.jinja"), key=lambda each: each.name.lower()):
        print(path.stem, file=sys.stderr, flush=True)
        rows.append(cells(family(path)))
    PAGE.write_text(HEAD.format(source=asked.source) + table(COLUMNS, rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
