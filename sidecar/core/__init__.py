"""The rules. Pure: nothing here awaits, does I/O, reads a clock or logs; time and settings are arguments."""
