"""The client for providers: connects, signs, sends, retries, reads replies, downloads images."""
