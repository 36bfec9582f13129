"""The clock, the invocation's deadline, and HTTP connections with a total time limit."""
