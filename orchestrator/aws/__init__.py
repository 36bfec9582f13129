"""Access to AWS: clients, the SDK's errors, and DynamoDB items."""
