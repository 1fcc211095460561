"""Parameter tables: how a provider spells each parameter, the translation, and its receipt."""
