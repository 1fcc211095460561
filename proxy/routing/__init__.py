"""From headers and the model's name to a plan: which provider, with which credential, where."""
