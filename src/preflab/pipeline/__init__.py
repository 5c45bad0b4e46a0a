"""The stages of a recipe: in which order, what is done, what is stale, where a person is awaited."""

from preflab.pipeline.planning import Step, output, plan, state_of
from preflab.pipeline.running import Line, run, show, workspace_folder

__all__ = ["Line", "Step", "output", "plan", "run", "show", "state_of", "workspace_folder"]
