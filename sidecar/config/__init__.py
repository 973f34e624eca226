"""YAML, environment and secret files to one frozen, validated Config; every error with its line."""
