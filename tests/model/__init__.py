"""The ledger's protocol as a state machine: everything that two deliveries of one event can do to each other."""
