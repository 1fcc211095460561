"""Answers kept for the next time the very same is asked."""
