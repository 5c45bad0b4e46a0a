"""preflab: from completions and people's judgments to an aligned language model, with the evidence that it worked.

Nothing is imported here: `import preflab` costs milliseconds, and each room brings in what it needs when it is used.
"""

__version__ = "0.1.0"
