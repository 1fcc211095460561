"""Failure modes: provider calls made against images delivered. `make faults`.

The gateway runs in a process of its own, through its real entry point. The provider is scripted,
speaks OpenAI's API and counts what it would charge for. A proxy between client and gateway cuts
connections. Each row of the table is one scenario; all scenarios run concurrently.

provider    the provider and its behaviours
gateways    gateways in processes
client      the clients, and what their requests return
scenarios   what clients do
rows        the rows of the table: fault, client, scenario, promise
"""
