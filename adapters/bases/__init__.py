"""Base classes for adapters that share a wire format.

openai_compatible    the provider has OpenAI's endpoint but its own parameters: most new providers
openai_passthrough   the provider accepts every OpenAI parameter and returns OpenAI's response
polling              the provider starts a job that must be polled
gemini               Google's Gemini models
stability_style      each image reports how it ended, as Stability AI's do
openai_tables        parameter tables of OpenAI's own models
"""
