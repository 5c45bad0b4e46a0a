"""Turns judgments into preferences: pairs, labeler reliability, consensus, agreement, assignment. Without torch."""
