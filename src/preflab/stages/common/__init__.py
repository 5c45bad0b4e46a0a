"""What several kinds of stages share: reading of recipe data, preferences and judgments, opening and saving models."""
