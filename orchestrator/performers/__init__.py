"""One module for each action that reaches the world."""
