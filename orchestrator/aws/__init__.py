"""Builds AWS clients and links to the AWS console, and converts the SDK's errors and DynamoDB items."""
