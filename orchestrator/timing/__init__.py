"""Provides the clock, the invocation's deadline, and HTTP connections that limit the total time of a request."""
