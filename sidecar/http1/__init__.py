"""HTTP/1.1 without I/O: heads, framing rules, hop-by-hop, forwarded headers, limits."""
