"""Converts Lambda's payloads (EventBridge events and SQS batches) to `Event` objects, and handles SQS batches."""
