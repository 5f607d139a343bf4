"""A gateway as its own process, and what happens to it."""
