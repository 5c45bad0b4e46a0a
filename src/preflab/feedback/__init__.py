"""Judgments to preferences: pairs, labeler reliability, consensus, agreement, assignment. numpy, nothing heavier."""
