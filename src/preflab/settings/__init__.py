"""Every setting of every stage, with its default, its meaning and where the default comes from.

Pydantic models that import nothing else of preflab and nothing heavy: a leaf like `records`, read by the recipe
(which fills them) and by the rooms (which obey them).
"""
