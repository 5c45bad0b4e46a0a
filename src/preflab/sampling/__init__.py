"""Prompts → completions: token ids in; token ids, log-probabilities and the reason of the end out."""
