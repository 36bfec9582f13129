"""JSON values: their limits, how they are written as text, and what is wrong with them."""
