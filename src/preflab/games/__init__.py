"""Games: pure functions that reinforcement learning plays, exact answers to them, and players that learn."""
