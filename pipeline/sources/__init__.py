"""Sources of captioned images as one Arrow table, in an order that depends on the content alone."""
