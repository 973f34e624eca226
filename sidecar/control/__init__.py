"""The control plane: logout endpoint, health, metrics. Served by aiohttp."""
