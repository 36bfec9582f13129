"""Ours against the reference service, which npm installs."""
