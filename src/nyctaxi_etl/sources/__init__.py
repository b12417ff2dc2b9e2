"""Where months come from: bring a published file here, whole and checked."""
