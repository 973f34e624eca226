"""A small provider and a small legacy app for `logout-sidecar demo`; imported by nothing else."""
