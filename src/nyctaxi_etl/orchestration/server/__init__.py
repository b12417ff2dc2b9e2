"""Prefect's server: started where none is set up, and watched."""
