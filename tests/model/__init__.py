"""Model-checks the ledger: every way in which two deliveries of one event can interleave."""
