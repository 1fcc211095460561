"""Parsing and checking HTTP messages: headers, body, forwarding, proxies, allowed hosts."""
