"""The outside world: what an action calls, what came of it, and the offline twin of everything."""
