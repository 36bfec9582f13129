"""Time: the clock, the end of the invocation, and HTTP connections that keep to it."""
