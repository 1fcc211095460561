"""Credentials and request signatures."""
