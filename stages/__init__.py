"""The steps of mining as plain typed functions and small classes over plain records. No Ray, no CLI, no global state."""
