"""The steps of mining as plain typed functions over plain records. No Ray, no command line, no global state."""
