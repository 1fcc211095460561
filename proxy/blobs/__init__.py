"""Picture bytes by name, for a time, behind URLs that are their own key.

keeping stores a picture, media says what it is, signing signs its URL; serve answers that URL;
store holds the bytes, on disk or in an object store; sweeping keeps the disk within its bound,
and leftovers clears up after the caches of processes that have ended.
"""
