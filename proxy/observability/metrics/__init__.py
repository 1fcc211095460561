"""What the gateway counts, and the page that shows it.

Counting is on the way of every request and uses nothing but dictionaries; the library that writes
the page is imported when it is first asked for.
"""
