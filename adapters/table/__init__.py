"""Parameter tables: how a provider spells each parameter, and the receipt."""
