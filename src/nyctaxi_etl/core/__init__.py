"""Values that everything speaks of; nothing here imports another room."""
