"""Pictures kept for the next time the very same is asked.

| module | what it is about |
| --- | --- |
| naming | the key of an answer, and the name of a request, by which jobs are told apart, too |
| entries | what is known of a kept answer, and what that is worth |
| index | the entries, in memory, within two bounds |
| redis_index | the same in a Redis, for several processes |
| redis_scripts | its changes, in Lua |
| writing | an entry as bytes |
| pictures | the bytes, in the blob store, each picture once |
| filling | the way of an answer's pictures there |
| reading | taking apart an answer that was relayed unread |
| making | the entry of an answer |
| ready | whole answers in memory, as they were last written |
| simple | entries and pictures together |
"""
