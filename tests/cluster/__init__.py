"""A three-node cluster on this machine, and what its clients get while parts of it fail.

`make cluster-test` starts nginx, Redis, an S3-compatible server and three nodes of two workers
each. Clients with both SDKs request images continuously while one part after the other is broken.
"""
