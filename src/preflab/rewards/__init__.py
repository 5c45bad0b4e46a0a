"""Rewards of completions: reward models trained on preferences, classifiers, Python functions, their weighted sum."""
