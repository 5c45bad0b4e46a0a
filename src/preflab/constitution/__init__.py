"""Principles instead of labels: a model criticises and revises its own answers (Bai et al. 2022)."""
