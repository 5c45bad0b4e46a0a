"""The ways of judging, one file each, with everything specific to the way.

That is: the answer, its JSON and checks, its votes on pairs, its text for people, its form and its simulation.
"""
