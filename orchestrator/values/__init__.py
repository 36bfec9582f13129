"""JSON values: size limits, conversion to text, and descriptions of validation errors."""
