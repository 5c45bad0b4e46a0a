"""Completions to numbers: reward models trained on preferences, classifiers, Python functions, their weighted sum."""
