"""Several processes that serve at one address, and the small one that keeps them running.

| module | what it is about |
| --- | --- |
| counting | how many there are to be |
| orders | what a worker is told to serve |
| line | how two processes call each other, over a socket without a name |
| hub | what all know together: the supervisor answers, workers ask |
| cache_index | what the cache of all knows: the same |
| reserving | the address, held while workers come and go |
| lives | how a worker ended, and when the next one begins |
| supervisor | starts workers, restarts them, stops them |
| worker | serves as one of them |

The supervisor answers workers and serves nobody: it imports nothing that serves.
"""
