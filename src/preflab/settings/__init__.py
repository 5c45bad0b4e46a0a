"""Every setting of every stage, with its default, its meaning and the source of the default.

The settings are pydantic models that import nothing heavy. The recipe fills them; the stages and the rooms read them.
"""
