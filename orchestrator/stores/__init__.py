"""What is kept in DynamoDB besides the ledger: tier details and tenant records."""
