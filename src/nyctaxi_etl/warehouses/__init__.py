"""Where months are loaded: each warehouse makes the same promise."""
