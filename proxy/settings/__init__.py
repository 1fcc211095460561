"""The settings file, routing configs, credentials and prices: what an operator writes."""
