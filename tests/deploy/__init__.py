"""What an operator runs Easel with, held against the tools that read it."""
