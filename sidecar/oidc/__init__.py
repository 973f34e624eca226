"""What the provider says: discovery, keys, signatures, ID tokens, the token-endpoint relay."""
