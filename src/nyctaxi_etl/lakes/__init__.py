"""Where months lie as files: a folder, or a bucket of Google Cloud Storage."""
