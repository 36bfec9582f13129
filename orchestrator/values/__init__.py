"""Checks JSON values against limits, converts them to text, and describes validation errors."""
