"""What Lambda hands over, as the canonical event."""
