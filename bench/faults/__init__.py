"""What each kind of fault costs: provider calls made against pictures delivered. `make faults`.

The gateway runs as a process of its own, through its real entry point; the provider is scripted,
speaks OpenAI's shape and counts what it would charge for; a wire between client and gateway is cut
where a fault wants it. Each row of the table is one story; all of them are told side by side.

provider   the provider, and how it can behave
gateways   gateways as processes
scene      what a story is told with: how a client asks, and what it got
stories    what clients do
rows       the faults, who meets them, what is promised
"""
