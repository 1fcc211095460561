"""Executes the plan of an image request: attempts, provider calls, responses."""
