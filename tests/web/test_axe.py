"""axe-core on every page, in both schemes and at two widths: names, headings, landmarks, contrast, what scrolls."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import replay_runs
import report_runs
from dialogue_campaigns import dialogue_campaign
from game_worlds import make_mute, make_speaker
from labelling_site import Site
from lead_world import LeadWorld, make_lead_world
from live_page import Typist, live_facts, served
from pictures import png
from playouts import PLAYOUTS, make_playout_campaign
from preflab.cli import run_command
from preflab.explain.game_page import game_page
from preflab.explain.game_tables import game_tables, player_tables
from preflab.explain.replay_data import replay_data
from preflab.explain.replay_page import replay_page
from preflab.explain.simulator_page import simulator_page
from preflab.games.game import load_game
from preflab.games.learners import learn_by_table, learn_exactly
from preflab.games.q_learning import QSettings
from preflab.labelling.accounts import Account, create_account
from preflab.labelling.adjudication import read_queue
from preflab.labelling.assignment import next_turn
from preflab.labelling.invites import create_invite
from preflab.labelling.sessions import create_token, open_session
from preflab.labelling.submissions import Submission, submit
from preflab.records import Campaign, RankingAnswer
from preflab.report.page import build_report
from preflab.store.images import add_image
from preflab.web.settings import WebSettings
from simulator_worlds import shop
from web_app import PASSWORD, serving

pytestmark = pytest.mark.browser

WAYS = ("ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank")
LOOKS = list(itertools.product(("light", "dark"), (1280, 390)))


def every_look(first: tuple[str, int]) -> pytest.MarkDecorator:
    """Schemes and widths: one look that every page is seen in, the others among the slow tests."""
    others = [pytest.param(*look, marks=pytest.mark.slow) for look in LOOKS if look != first]
    return pytest.mark.parametrize(("scheme", "width"), [first, *others])


WRITTEN = """# Title

Some $x_1*y_1$ and $$\\sum_{i=1}^{n} i = \\frac{n(n+1)}{2}$$

### Deeper at once

1. أولاً
2. ثانياً

| a | b | c | d | e | f | g | h | i | j |
|---|---|---|---|---|---|---|---|---|---|
| one-word | two-word | three-word | four-word | five-word | six-word | seven-word | eight-word | nine-word | ten |

```
code that is longer than a phone is wide, and then some more of it so that it has to be broken or scrolled
```

> quoted

[a link](https://example.org), *words*, `code`
"""


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script, out of the package that holds it."""
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed: pip install axe-playwright-python")
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds on the page as it is shown, each with its rule and the first elements."""
    settle(page)
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    return [
        f"{each['id']}: {'; '.join(node['html'][:200] + ' ' + node['failureSummary'] for node in each['nodes'][:3])}"
        for each in found
    ]


def settle(page: Any) -> None:
    """Return when the first of two frames is drawn whole: sizes are observed at the end of a frame."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")


def looked_over(page: Any, axe: str, address: str) -> list[str]:
    """What is wrong with a page as it comes, with every fold open, and with each of its dialogs open."""
    page.goto(address)
    if page.locator("#judging").count():
        page.wait_for_selector("html.scripted", state="attached")
    found = violations(page, axe)
    folded = page.locator("details:not([open])").count()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    if folded:
        found += violations(page, axe)
    for name in page.evaluate("[...document.querySelectorAll('dialog[id]')].map(one => one.id)"):
        if name == "images":
            page.locator("[data-enlarge]").click()
        else:
            page.evaluate("name => document.getElementById(name).showModal()", name)
        found += violations(page, axe)
        page.keyboard.press("Escape")
    return [f"{address}: {each}" for each in dict.fromkeys(found)]


def all_looked_over(
    browser: Any,
    axe: str,
    settings: WebSettings,
    session: str | None,
    addresses: Sequence[str],
    scheme: str,
    width: int,
) -> list[str]:
    context = browser.new_context(
        base_url=settings.url, viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(10_000)
    if session:
        context.add_cookies([{"name": settings.cookie, "value": session, "url": settings.url}])
    page = context.new_page()
    found = [wrong for address in addresses for wrong in looked_over(page, axe, address)]
    context.close()
    return found


@pytest.fixture(scope="module")
def campaigns(site: Site) -> list[Campaign]:
    """A campaign per way of judging, with content of every kind, and one of images."""
    texts = [WRITTEN, "", "(empty)", "w" * 300 + " long" * 2_000]
    made = [
        site.campaign(
            way, [texts[: 2 if way == "side_by_side" else 4]], content="chat", instructions=WRITTEN, overlap=9
        )
        for way in WAYS
    ]
    names = []
    for grey in (60, 160):
        file = Path(site.ws.path) / f"grey-{grey}.png"
        file.write_bytes(png(2000, 1500, grey))
        names.append(add_image(site.ws.path, file))
    return [
        *made,
        site.campaign("ranking", [names], content="image", overlap=9),
        site.campaign("ranking", [["a", "b"]], content="code"),
        dialogue_campaign(site),
        dialogue_campaign(site, "side_by_side", 2, content="chat"),
        *(make_playout_campaign(site.ws, way, PLAYOUTS[:2]) for way in ("ranking", "side_by_side")),
    ]


@every_look(("dark", 390))
def test_labelling_in_every_way(
    browser: Any, site: Site, axe: str, campaigns: list[Campaign], scheme: str, width: int
) -> None:
    labeler = site.labeler(*campaigns)
    session = open_session(site.ws, labeler.id)
    addresses = [f"/c/{campaign.id}" for campaign in campaigns]
    assert all_looked_over(browser, axe, site.settings, session, addresses, scheme, width) == []


def finished(site: Site) -> tuple[Campaign, Account]:
    """A campaign with nothing left for its one labeler."""
    campaign = site.campaign("ranking", [["x", "y"]])
    labeler = site.labeler(campaign)
    turn = next_turn(site.ws, campaign.id, labeler.labeler_id)
    assert turn is not None
    submit(
        site.ws, Submission(f"last {labeler.id}", turn.task.id, labeler.labeler_id, 0, RankingAnswer((1, 2)), 900, 900)
    )
    return campaign, labeler


@every_look(("light", 390))
def test_pages_around_the_work(
    browser: Any, site: Site, axe: str, campaigns: list[Campaign], scheme: str, width: int
) -> None:
    campaign, labeler = finished(site)
    create_token(site.ws, labeler.id, "nightly export")
    own = [f"/c/{campaign.id}", f"/c/{campaign.id}/done", f"/c/{campaigns[0].id}/instructions"]
    mine = ["/", "/me", *own, "/api/docs", "/nowhere", "/lead", f"/c/{campaigns[0].id}"]
    found = all_looked_over(browser, axe, site.settings, open_session(site.ws, labeler.id), mine, scheme, width)
    lead = create_account(site.ws, f"Lead {scheme} {width}", "lead", PASSWORD)
    _, token = create_invite(site.ws, "labeler", [campaign.id], 72, lead.id)
    strangers = ["/signin", f"/invite/{token}", "/invite/none", "/signin?next=/me"]
    found += all_looked_over(browser, axe, site.settings, None, strangers, scheme, width)
    assert found == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeadWorld]:
    """A small campaign with simulated labelers."""
    made = make_lead_world(tmp_path_factory.mktemp("axe") / "w", num_tasks=60)
    yield made
    made.ws.close()


def leads_addresses(world: LeadWorld) -> list[str]:
    """Every page of leads, with labels and without."""
    home, empty = f"/lead/c/{world.campaign.id}", f"/lead/c/{world.empty.id}"
    task, labeler = read_queue(world.ws, world.campaign.id).open[0].task_id, next(iter(world.habits))
    tabs = ["", "/agreement", "/labelers", "/disagreements", "/adjudicate", "/export", "/settings"]
    others = [
        "/lead",
        "/lead/new",
        "/lead/people",
        "/lead/audit",
        f"/lead/people/{world.people.anna.id}/erase",
        "/lead/adjudicate",
    ]
    detail = [f"{home}/adjudicate/{task}", f"{home}/labelers/{labeler}"]
    return [*others, *detail, *(f"{at}{tab}" for at in (home, empty) for tab in tabs)]


@every_look(("light", 1280))
def test_leads_pages(browser: Any, world: LeadWorld, axe: str, scheme: str, width: int) -> None:
    with serving(world.ws) as settings:
        session = open_session(world.ws, world.lead.id)
        assert all_looked_over(browser, axe, settings, session, leads_addresses(world), scheme, width) == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report about every kind of stage, an empty completion and dialogues in it."""
    folder = tmp_path_factory.mktemp("axe-report")
    runs = folder / "runs"
    samples = report_runs.sample_rows(12)
    samples[0]["completions"]["ppo"][0]["text"] = ""
    folders = [
        report_runs.sft_run(runs), *report_runs.feedback_runs(runs), report_runs.reward_run(runs),
        report_runs.ppo_run(runs), report_runs.ppo_run(runs, "ppo_free", free=True, alarms=report_runs.ALARMS),
        report_runs.evaluate_run(runs, samples), report_runs.ppo_run(runs, "ppo_talks"),
    ]  # fmt: skip
    shutil.rmtree(folders[-1] / "rollouts")
    talks = [replay_runs.dialogue(1, 0), replay_runs.dialogue(1, 1, turns=["", "what", "w" * 300])]
    replay_runs.write_step(folders[-1] / "rollouts", 1, talks)
    page = folder / "report.html"
    page.write_text(build_report(folders, title="Manners", base=folder), encoding="utf-8")
    return page


@every_look(("dark", 1280))
def test_the_report(browser: Any, report: Path, axe: str, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    assert looked_over(page, axe, report.as_uri()) == []
    assert page.locator(".written .nothing").first.inner_text() == "(empty)"
    context.close()


@every_look(("light", 390))
def test_the_simulator(browser: Any, axe: str, tmp_path: Path, scheme: str, width: int) -> None:
    file = tmp_path / "simulator.html"
    file.write_text(simulator_page(shop(num_prompts=12, per_policy=12)), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    found = looked_over(page, axe, file.as_uri())
    page.check("input[value=falls]")
    page.get_by_role("button", name="Show what happens").click()
    page.get_by_role("button", name="Generate").click()
    settle(page)
    found += violations(page, axe)
    page.get_by_role("button", name="reference only").click()
    page.locator("#flaw-length").press("End")
    settle(page)
    assert found + violations(page, axe) == []


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Replays of two runs, of one with long, empty and unwritten tokens, of dialogues, and of pairs."""
    folder = tmp_path_factory.mktemp("axe-replay")

    def with_top(row: int, tokens: list[str], **columns: Any) -> dict[str, Any]:
        num = len(tokens)
        top = {"top_ids": [[1, 2]] * num, "top_tokens": [["a", "b"]] * num, "top_logps": [[-0.7, -1.4]] * num}
        return replay_runs.rollout(3, row, tokens, **top, **columns)

    rows = [with_top(0, replay_runs.sentence(0, 12)), with_top(1, []), with_top(2, ["a", "b"], written=[True, False])]
    first, other = replay_runs.ppo_run(folder, rows={3: rows}), replay_runs.ppo_run(folder, "ppo_free", steps=4)
    long = replay_runs.ppo_run(folder, "long", steps=1, rows={0: [replay_runs.rollout(0, 0, ["a"] * 401)]}, alarms=[])
    talks = [
        replay_runs.dialogue(0, 0),
        replay_runs.dialogue(0, 1, turns=["w " * 500, "", "four"], last_turn="w" * 500),
    ]
    dialogues = replay_runs.ppo_run(folder, "dialogues", steps=1, rows={0: talks}, alarms=[])
    pairs = [replay_runs.pairs_run(folder)], [replay_runs.pairs_run(folder, "reward", kept=False)]
    pages = []
    for runs in ([first, other], [long], [dialogues], *pairs):
        pages.append(folder / f"{len(pages)}.html")
        pages[-1].write_text(replay_page(replay_data(runs)), encoding="utf-8")
    return pages


@every_look(("light", 390))
def test_the_replay(browser: Any, replays: list[Path], axe: str, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    two, long, dialogues, *pairs = replays
    assert [wrong for file in (two, dialogues, *pairs) for wrong in looked_over(page, axe, file.as_uri())] == []
    page.goto(long.as_uri())
    assert violations(page, axe) == []
    page.goto(dialogues.as_uri())
    page.locator("#other").select_option(index=1)
    page.locator("#numbers").check()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(two.as_uri())
    page.locator("#alarms button").first.click()
    page.locator("#other").select_option(index=1)
    for name in ("advantages", "kl", "credit"):
        page.locator("#quantity").select_option(name)
        page.locator("#numbers").set_checked(name == "credit")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        settle(page)
        assert violations(page, axe) == []
    context.close()


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pages of games: a board, a list of moves for two players, a map for one; a board against language models."""
    folder = tmp_path_factory.mktemp("axe-games")
    example = Path(__file__).parents[2] / "examples" / "my_first_game.py"
    pages = []
    for place in ("tic_tac_toe", str(example), "cliff"):
        game = load_game(place)
        learnings = {"exact": learn_exactly(game, 1.0), "q": learn_by_table(game, QSettings(num_games=20))}
        states, tables = game_tables(game)
        players = [player_tables(game, states, kind, one, num_snapshots=2) for kind, one in learnings.items()]
        pages.append(folder / f"{game.name}.html")
        pages[-1].write_text(game_page({**tables, "players": players}), encoding="utf-8")
    pages.append(folder / "language.html")
    models = [make_mute(folder / "mute"), make_speaker(folder / "speaker")]
    options = [part for model in models for part in ("--language", str(model))]
    assert run_command(["game", "play", "tic_tac_toe", "--out", str(pages[-1]), *options]) == 0
    return pages


@every_look(("dark", 390))
def test_games(browser: Any, games: list[Path], axe: str, scheme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    found = []
    for file in games:
        found += looked_over(page, axe, file.as_uri())
        page.locator("#player").select_option("1")
        page.locator("#let").click()
        found += violations(page, axe)
        while page.locator("#let").is_enabled():
            page.locator("#let").click()
        found += violations(page, axe)
    context.close()
    assert found == []


@every_look(("dark", 390))
def test_the_simulator_writing_new_text(browser: Any, axe: str, scheme: str, width: int) -> None:
    data = {**shop(num_prompts=5, per_policy=6), "live": live_facts([("ppo", 0.55)])}
    typist = Typist([("The", 0.0), (" most", 3.2), (" awesome", 1.0), (" coin", -3.7), (".", -0.5)])
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    with served(data, typist) as address:
        page = context.new_page()
        page.goto(address)
        page.get_by_role("button", name="Skip the guess").click()
        page.get_by_role("button", name="Write new text with the model").click()
        page.locator("#live-facts", has_text="learned reward").wait_for()
        page.get_by_text("Every token in numbers").click()
        settle(page)
        found = violations(page, axe)
        page.locator("#flaw-length").press("End")
        settle(page)
        assert found + violations(page, axe) == []
        context.close()
