"""Jobs: image requests that run to their end whether or not their client stays connected.

`job` is one request and its state, `store` the jobs of a process. `recording` holds a response,
`budget` keeps all recordings within memory and disk, `persistence` keeps results over a restart.
`delivery` sends a job's response to a client, `capture` records a handler's response, `limits`
bounds concurrent jobs. With several processes, `directory` holds what they know of each other's
jobs, as `cluster_record`s, `shares` bounds each caller's part of it, and `cluster` publishes own
jobs and mirrors those of others.
"""
