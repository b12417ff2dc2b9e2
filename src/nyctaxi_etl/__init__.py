"""Months of New York City taxi trips, from their source into a lake and a warehouse."""
