"""Where revocations and bindings are kept, and the feed from the log to the replica."""
