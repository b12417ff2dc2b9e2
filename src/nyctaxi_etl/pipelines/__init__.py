"""The order of the steps, without Prefect."""
