"""Faults against real workers and a real server, and a ledger that says what they cost."""
