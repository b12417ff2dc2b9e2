"""Who runs the steps: Prefect, or threads alone; and who opens what they need."""
