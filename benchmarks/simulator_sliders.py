"""Time from a slider's movement to a changed page of the simulator: `python benchmarks/simulator_sliders.py`.

Every slider is moved to 20 places in Chromium, on 4,000 samples of 5 policies at 40 prompts. A movement is the whole
answer to the event: the point, the curve with every run left out, texts, chart and layout. `wall_ms` is the median time
around the event; `cpu_ms` is the processor time of the page's thread per movement, which a busy machine changes less.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from preflab.explain.simulator_page import simulator_page
from simulator_worlds import shop

MOVES = 20
MOVE = """async ([slider, moves]) => {
    const took = [];
    for (let j = 0; j < moves; j += 1) {
        slider.value = Number(slider.min) + (0.03 + 0.94 * ((j * 7) % moves) / moves) * (slider.max - slider.min);
        const before = performance.now();
        slider.dispatchEvent(new Event("input", {bubbles: true}));
        document.body.getBoundingClientRect();
        took.push(performance.now() - before);
        await new Promise(requestAnimationFrame);
    }
    return took;
}"""


def measure(page: Any) -> list[dict[str, Any]]:
    """One row per slider."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(1000 * each["value"] for each in metrics if each["name"] == "TaskDuration")

    rows = []
    for slider in page.query_selector_all("input[type=range]"):
        before = busy()
        took = page.evaluate(MOVE, [slider, MOVES])
        cpu = (busy() - before) / MOVES
        name = slider.get_attribute("id")
        rows.append({"slider": name, "wall_ms": round(statistics.median(took), 1), "cpu_ms": round(cpu, 1)})
    return rows


def main() -> None:
    """Print a row per slider and the size of the file, as JSON."""
    chromium = shutil.which(os.environ.get("PREFLAB_CHROMIUM", "chromium"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "simulator.html"
        file.write_text(simulator_page(shop()), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        page.click("#skip-guess")
        for row in measure(page):
            print(json.dumps(row))
        browser.close()
        print(json.dumps({"file_bytes": file.stat().st_size}))


if __name__ == "__main__":
    main()
