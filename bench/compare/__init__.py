"""Compares Easel with other gateways, on one machine in one run. `make bench`.

environment    installs the other programs below `.bench`
responses      the responses of the mock provider
mock           the mock provider: nginx, and a small server for slow, streamed and cut responses
relay          a minimal aiohttp server, as a baseline
servers        processes: started, pinned to a core, measured
contestants    how each gateway is started and called
load           load generation with wrk
requests       single requests: correct responses, event latency, slow readers
bench          the servers and measurements of a run
scenarios      what is measured
growth, soak   cost as work grows; half an hour of mixed load
targets        the targets
report         results.json, results.md
"""
