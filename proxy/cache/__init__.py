"""Pictures kept for the next time the very same is asked.

entries is what is known of a kept answer; naming makes its key; index holds the entries, in memory,
within two bounds; pictures puts the bytes into the blob store, each once; reading takes apart an
answer that was relayed unread; simple puts them together.
"""
