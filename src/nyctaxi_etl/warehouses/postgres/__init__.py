"""Postgres: a table partitioned by month."""
