"""Lessons: ten pages that teach reinforcement learning from games to language models, run by `preflab learn`."""
