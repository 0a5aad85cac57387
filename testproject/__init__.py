"""A small real site: it runs the demo and the smoke run, and hosts the tests."""
