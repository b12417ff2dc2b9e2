"""What lies between transform and load: record batches, and the files they are kept in."""
