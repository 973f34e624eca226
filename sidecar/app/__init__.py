"""The composition root: builds everything from the Config, starts it in order, stops it in reverse.

The only package that reads Config and knows the concrete classes; everything else is handed the values it needs.
"""
