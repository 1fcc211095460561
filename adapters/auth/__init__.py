"""Credentials, token requests and request signatures."""
