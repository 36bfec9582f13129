"""Builds AWS clients, and converts the SDK's errors and DynamoDB's items."""
