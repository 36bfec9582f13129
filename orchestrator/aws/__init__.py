"""Builds AWS clients, and converts AWS errors and DynamoDB items to this package's types."""
