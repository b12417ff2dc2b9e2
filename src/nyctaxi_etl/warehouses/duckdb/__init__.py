"""The embedded warehouse: one DuckDB file."""
