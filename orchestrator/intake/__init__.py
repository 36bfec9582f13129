"""Converts Lambda's payloads (EventBridge events and SQS batches) to canonical events."""
