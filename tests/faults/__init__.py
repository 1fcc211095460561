"""Every fault of a provider, in every kind of conversation and every request mode.

The gateway runs in a process of its own; the provider writes raw bytes to sockets, counts paid
calls and knows which of its connections are open.

wire         the provider: connections, replies, scripts
addresses    addresses at which no exchange can begin
behaviours   the faults: one row of the table each
kinds        the conversations: one column each
modes        request modes: single, retry, fallback, coalesced
matrix       runs all cells concurrently
page         the table in docs/reliability.md
"""
