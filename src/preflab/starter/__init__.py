"""`preflab init`: inspect a model and a file of data, and write a first recipe that runs without changes.

Nothing is trained and no weights are loaded. Every choice is explained by a sentence, in the recipe and in the summary.
"""
