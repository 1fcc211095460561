"""Several worker processes that serve at one address, and their supervisor.

| module | subject |
| --- | --- |
| run | entry point: reserve the address, run the supervisor, clean up; number of workers |
| supervisor | start, restart and stop workers; pass on new settings |
| worker | serve as one of the workers |
| bootstrap | the settings that the supervisor sends to a worker |
| rpc | calls between supervisor and worker over a socket pair |
| shared_state | the shared state store, held by the supervisor |
| cache_index | the shared cache index, held by the supervisor |
| metrics | metrics of all workers together |
| port | reservation of the TCP address while workers come and go |

The supervisor handles no requests: it imports no HTTP server.
"""
