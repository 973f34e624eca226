"""The data plane: downstream and upstream connections, exchanges, tunnels, live streams."""
