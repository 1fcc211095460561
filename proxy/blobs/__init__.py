"""Blobs: images stored for a limited time, behind signed URLs.

`publish` stores an image and returns its URL, `urls` signs and verifies URLs, `media_types` is the
allow list of image types. `store` holds the bytes, in a folder or an object store; `retention`
deletes expired blobs of a folder, and the caches of processes that are gone.
"""
