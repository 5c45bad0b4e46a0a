"""Settings of the rules that stop an on-policy run before its last step."""

from __future__ import annotations

from preflab.settings.base import Settings, setting


class StopSettings(Settings):
    """Rules that end a run before `num_steps`."""

    criterion: str | None = setting(
        None,
        "`module:function` that scores held-out completions; their mean score is the criterion.",
        "choice: none",
        refers="function",
    )
    threshold: float | None = setting(None, "Stop once the held-out criterion reaches this.", "choice: none")
    every: int = setting(10, "Steps between two measurements of the criterion.", "choice", ge=1)
    num_prompts: int = setting(64, "Held-out prompts it is measured on.", "choice", ge=1)
    max_kl: float | None = setting(None, "Stop once the mean KL per completion exceeds this, nats.", "choice: none")
