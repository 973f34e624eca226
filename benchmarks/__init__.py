"""Measuring scripts, not part of the product."""
