"""The report in a real browser: nothing overflows on a phone, nothing is fetched, keyboard and dark mode work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import report_runs
from preflab.report.page import build_report

pytestmark = pytest.mark.browser

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless Chromium."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report about every kind of stage."""
    folder = tmp_path_factory.mktemp("browser")
    runs = folder / "runs"
    samples = report_runs.sample_rows(12)
    samples[0]["completions"]["ppo"][0]["text"] = "<script>document.title = 'hacked'</script>" + "w" * 400
    folders = [
        report_runs.sft_run(runs), *report_runs.feedback_runs(runs), report_runs.reward_run(runs),
        report_runs.ppo_run(runs), report_runs.ppo_run(runs, "ppo_free", free=True, alarms=report_runs.ALARMS),
        report_runs.evaluate_run(runs, samples),
    ]  # fmt: skip
    page = folder / "report.html"
    page.write_text(build_report(folders, title="Manners", base=folder), encoding="utf-8")
    return page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_asks_for_nothing(browser: Any, report: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    page = context.new_page()
    requested: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert requested == [report.as_uri()]
    assert said == []
    assert page.title() == "Manners"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Text in charts that a phone still shows large enough to be read, and that does not leave the paper.
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('svg.chart')].flatMap(svg => {
            const box = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].map(text => {
                const own = text.getBoundingClientRect();
                return [own.height, box.left - own.left, own.right - box.right, text.textContent];
            });
        })"""
    )
    assert min(height for height, *_ in sizes) > 11
    assert not [(text, left, right) for _, left, right, text in sizes if left > 2 or right > 6]
    context.close()


def test_colours_follow_the_scheme(browser: Any, report: Path) -> None:
    found = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(report.as_uri())
        found[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        context.close()
    assert found == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}


def test_the_keyboard_reaches_sections_and_details(browser: Any, report: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(report.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the report"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('nav') !== null")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.evaluate("one => one.open")
    context.close()


def test_the_first_screen_of_a_phone_says_whether_it_worked(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 850})
    page = context.new_page()
    page.goto(report.as_uri())
    for question in ("Did it work?", "How sure are we?", "What did it cost?"):
        box = page.get_by_text(question, exact=True).bounding_box()
        assert box["y"] < 850
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_table_is_cut_on_a_phone(browser: Any, report: Path, scheme: str) -> None:
    """Wide ones become cards, whose values have their names beside them; narrow ones stay tables."""
    context = browser.new_context(viewport={"width": 390, "height": 850}, color_scheme=scheme)
    page = context.new_page()
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    tables = page.evaluate(
        """() => [...document.querySelectorAll('.scroll')].map(box => {
            const table = box.querySelector('table');
            return [box.scrollWidth - box.clientWidth, table.classList.contains('stack'), table.innerText.slice(0, 80)];
        })"""
    )
    assert len(tables) > 20
    assert not [text for cut, _, text in tables if cut > 0]
    assert 0 < sum(stacked for _, stacked, _ in tables) < len(tables)
    names = page.evaluate(
        """() => [...document.querySelectorAll('table.stack td[data-label]')].filter(cell => cell.innerText).map(cell =>
            [getComputedStyle(cell, '::before').content, cell.dataset.label])"""
    )
    assert names
    assert all(shown == f'"{name}"' for shown, name in names if '"' not in name)
    context.close()


def test_tables_that_become_cards_stay_tables_to_a_screen_reader(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 850})
    page = context.new_page()
    page.goto(report.as_uri())
    stacked = page.locator("#comparison table.stack").first
    assert stacked.evaluate("one => getComputedStyle(one.rows[1]).display") == "block"
    tree = stacked.aria_snapshot()
    for role in ("table", "rowgroup", "row", "columnheader", "cell"):
        assert f"{role} " in tree or f"{role}:" in tree, role
    assert 'columnheader "measure"' in tree
    context.close()


def test_a_wide_table_is_a_table_where_there_is_room(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 850})
    page = context.new_page()
    page.goto(report.as_uri())
    assert (
        page.locator("#comparison table.stack").first.evaluate("one => getComputedStyle(one.rows[1]).display")
        == "table-row"
    )
    context.close()
