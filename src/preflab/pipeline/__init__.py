"""Runs the stages of a recipe in order: skips finished ones, repeats stale ones, marks those that wait for people."""

from preflab.pipeline.planning import Step, output, plan, state_of
from preflab.pipeline.running import Line, functions_found, prepare, run, show, workspace_folder

__all__ = [
    "Line", "Step", "functions_found", "output", "plan", "prepare", "run", "show", "state_of", "workspace_folder",
]  # fmt: skip
