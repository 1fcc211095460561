"""The settings file, routing configs, credentials, prices: everything an operator writes."""
