"""Evaluation: figures of models with confidence intervals, paired over the same held-out prompts.

The statistics use numpy and scipy only: texts, scores and log-probabilities are passed in.
"""
