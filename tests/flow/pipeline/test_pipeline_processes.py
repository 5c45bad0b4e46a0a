"""Two processes walk through one pipeline: the main one writes, both take part in the stages they share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
import toy_stages
from preflab import stages
from preflab.cli import run_command
from preflab.settings import recipe
toy_stages.register(dict.__setitem__, sys.modules, recipe.STAGE_SETTINGS, stages.MODULES)
grow = toy_stages.grow

def watched(ctx):
    import os
    (ctx.recipe.folder / f"{ctx.name}-{os.environ['RANK']}").write_text(str(ctx.num_done))
    if os.environ["RANK"] == "0":
        return grow(ctx)

sys.modules["toy_stage_grow"].run = watched
sys.modules["toy_stage_grow"].distributed = True
sys.exit(run_command(sys.argv[1:]))
"""
RECIPE = "recipe: 1\nstages:\n  a: {kind: grow}\n  b: {kind: read, of: [a]}\n  c: {kind: ask}\n"


def launch(folder: Path, repository: Path, *words: str) -> list[str]:
    """Runs the command in two processes; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = os.pathsep.join([str(repository / "src"), str(repository / "tests")])
    common = os.environ | {"PYTHONPATH": places, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    common |= {"ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CODE, *words],
            cwd=folder,
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return printed


@pytest.mark.slow
def test_two_processes_run_a_recipe(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    main, other = launch(tmp_path, repository, "run", "--json")
    assert other == ""
    assert [stage["state"] for stage in json.loads(main)["stages"]] == ["done", "done", "waiting"]
    assert (tmp_path / "a-0").exists()
    assert (tmp_path / "a-1").exists()  # the other process took part
    again = json.loads(launch(tmp_path, repository, "run", "--json", "--fresh", "a")[0])
    assert [stage["ran"] for stage in again["stages"]] == [True, True, True]
    assert len(list((tmp_path / "runs").glob("a-*"))) == 2
