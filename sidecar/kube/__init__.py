"""Kubernetes: the sidecar put into a pod, by one pure function with several fronts (decision 017)."""
