"""Checks of the exercises: one file per lesson, named as its page, with a function `check(answer)`."""
