"""Simulates bursts of events, with the quotas of Lambda, SQS and CodeBuild, and the waiting that this package does.

It sends no events and does not wait. From the package come the pauses between two deliveries of a message that waits,
when a message fails for good, and how long the index is read and for how long a build system is left alone after a
refusal. `test_costs.py` checks the requests of each step against the package.
"""
