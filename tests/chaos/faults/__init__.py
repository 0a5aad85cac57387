"""The faults, a file for each kind."""
