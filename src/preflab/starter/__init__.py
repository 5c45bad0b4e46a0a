"""From nothing to a first recipe: a model and a file of data are looked at; a recipe comes out that runs as it stands.

Nothing is trained and no weights are loaded here. Every choice is said in a sentence, in the recipe and in the summary.
"""
