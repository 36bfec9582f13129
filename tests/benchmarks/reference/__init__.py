"""Compares this package with the reference service, which npm installs."""
