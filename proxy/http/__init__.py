"""What an HTTP request says: headers, body, proxies, hosts."""
