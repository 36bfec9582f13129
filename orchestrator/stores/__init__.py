"""Tier details and tenant records, in DynamoDB tables."""
