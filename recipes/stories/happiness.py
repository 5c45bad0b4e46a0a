"""The reward of the stories recipe: how happy the continuation sounds, by VADER's lexicon (Hutto and Gilbert 2014)."""

from __future__ import annotations

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

ANALYZER = SentimentIntensityAnalyzer()


def compound(prompts: list[str], completions: list[str]) -> list[float]:
    """VADER's compound score of each story, prompt and completion together: from -1 (sad) to 1 (happy)."""
    stories = [f"{prompt} {completion}" for prompt, completion in zip(prompts, completions, strict=True)]
    return [ANALYZER.polarity_scores(story)["compound"] for story in stories]
