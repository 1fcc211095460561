"""Easel beside other gateways, on one machine, in one run. `make bench`.

environment    what is installed for it, below `.bench`
pictures       the answers that the mock provider gives
mock           the mock provider: nginx, and a small server for what is slow or comes in events
relay          the least that an aiohttp server can do: to compare with
servers        processes: started, pinned to a core, watched
contestants    how each gateway is started, and how it is asked
load           many requests, by wrk
asking         single requests: a right answer, events, slow readers
bench          the servers of a run, and what it has found so far
scenarios      the table of what is measured
growth, soak   cost as work grows; half an hour of everything
targets        what is to come out
report         results.json, results.md
"""
