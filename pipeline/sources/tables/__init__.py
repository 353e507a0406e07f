"""Tables of photos and captions: a module for each format, one for what their rows have in common."""
