"""Months that are made up, for everything that needs no network."""
