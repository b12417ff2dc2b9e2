"""BigQuery: a month comes from the lake by a load job."""
