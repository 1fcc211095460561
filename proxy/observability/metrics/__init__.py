"""Prometheus metrics: instruments, their registry, and the page that a scraper reads.

Counting happens in every request and uses dictionaries only. `prometheus_client`, which renders
the page, is imported at the first scrape.
"""
