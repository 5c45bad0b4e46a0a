"""Renders a playout as a clip: a board, buttons, the moves in words. `static/clips.js` plays it.

Without scripts the page shows the first and the last picture and the moves. The board is an image to screen readers,
named by its rows; the list of moves is text for everybody.
"""

from __future__ import annotations

import json

from markupsafe import Markup

from preflab.clips import LOOKS, Clip, Frame

FIGURE = """<figure class="clip" data-clip="{parts}">
{first}
<div class="still"><p class="quiet">At the end:</p>{last}</div>
<p class="now" role="status" hidden></p>
<div class="playing" role="group" aria-label="Clip" hidden>
<button type="button" data-do="play">Play</button>
<button type="button" data-do="back">Back</button>
<button type="button" data-do="step">Step</button></div>
<p class="quiet">{num}</p><ol class="moves">{moves}</ol>
<p class="quiet end">{end}</p>{legend}</figure>"""


def rendered_clip(clip: Clip) -> Markup:
    """A clip as HTML."""
    return Markup(FIGURE).format(
        parts=json.dumps(clip.parts, ensure_ascii=False),
        first=_board(clip, clip.frames[0]),
        last=_board(clip, clip.frames[-1]),
        num=f"Moves ({len(clip.moves)}):" if clip.moves else "No moves.",
        moves=Markup("").join(Markup("<li>{}</li>").format(move) for move in clip.moves),
        end=clip.end,
        legend=_legend(clip),
    )


def _board(clip: Clip, frame: Frame) -> Markup:
    lines = [
        Markup('<div class="line">{}</div>').format(Markup("").join(_cell(clip, cell) for cell in row)) for row in frame
    ]
    rows = ", ".join("".join(cell or " " for cell in row) for row in frame)
    label = f"Board, row by row: {rows}"
    return Markup('<div class="board" role="img" aria-label="{}">{}</div>').format(label, Markup("").join(lines))


def _cell(clip: Clip, text: str) -> Markup:
    return Markup('<span class="cell look-{}">{}</span>').format(clip.looks.get(text, "text"), text)


def _legend(clip: Clip) -> Markup:
    """The meanings of the cells, for the looks that occur in the clip; floor needs no words."""
    present = {cell for frame in clip.frames for row in frame for cell in row}
    texts = sorted((text for text in clip.looks if text in present), key=lambda text: LOOKS.index(clip.looks[text]))
    items = [
        Markup("<li>{}{}</li>").format(_cell(clip, text), clip.looks[text])
        for text in texts
        if clip.looks[text] != "floor"
    ]
    return Markup('<ul class="legend quiet">{}</ul>').format(Markup("").join(items)) if items else Markup("")
