"""What the sidecar does by itself after a logout: at the provider, and towards the browser."""
