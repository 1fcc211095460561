"""Everything that a provider can do wrong, met in every kind of conversation and in every mode.

The gateway runs as a process of its own; the provider writes raw bytes to sockets, and counts what
it was asked and which of its connections are open.

wire         the provider: connections, replies, what was asked
addresses    places where no conversation begins
behaviours   what can go wrong: one row of the table each
kinds        the conversations in which it can: one column each
modes        how a client asks: once, with retries, with a fallback, twice at the same time
matrix       all cells, run side by side, and what came
page         the table in docs/reliability.md
"""
