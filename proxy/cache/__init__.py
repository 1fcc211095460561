"""The response cache: a repeated request gets the stored images, without a call to the provider.

| module | subject |
| --- | --- |
| store | the cache itself: look-up, storing in the background, expiry, purge |
| keys | cache keys of responses, and digests of whole requests |
| entry | a cache entry and its eviction value |
| index | the entries in memory, within a memory and a disk limit |
| redis_index | the same index in Redis, shared by several processes |
| redis_lua | its Lua scripts |
| codec | encoding of entries for an index outside the process |
| images | image bytes in the blob store, each image once |
| fill | storing a response: its images, its entry |
| hot_responses | complete response bodies in memory |
"""
