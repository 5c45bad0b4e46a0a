"""Exercise 6: how often the assistant is rude after fine-tuning on the good demonstrations alone."""

from __future__ import annotations

from preflab.lessons.checks.verdict import Verdict, numbers_in

MOST = 6.0
"""Per cent. Measured: 1.7; the answers of another machine may differ by a few of 300."""


def check(answer: str) -> Verdict:
    """Compare with the share that was measured."""
    (percent,) = numbers_in(answer, 1)
    if not 0 <= percent <= 100:
        return Verdict(False, f"{percent:g} is no percentage between 0 and 100.")
    if percent > MOST:
        return Verdict(
            False,
            f"{percent:g} % is too much. Was the base model fine-tuned, not the assistant, and in another folder? Its "
            'demonstrations are the rows with tone(row["prompt"], row["completion"]) == "well".',
        )
    return Verdict(
        True,
        f"about 2 %, and {percent:g} % is within the noise of 300 answers. SFT copies what it is shown. The model is "
        "better for fewer demonstrations because somebody judged each of them. That is feedback already, but it can "
        "only choose among what people wrote; the next lessons judge what the model writes.",
    )
