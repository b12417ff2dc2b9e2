"""Published bytes become blocks of rows."""
