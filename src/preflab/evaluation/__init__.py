"""Evaluation: figures of models with confidence intervals, paired over the same held-out prompts.

Texts, scores and log-probabilities are passed in; intervals are those of `statistics/`.
"""
