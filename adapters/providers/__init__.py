"""One module per provider; `adapters.PROVIDERS` lists them."""
