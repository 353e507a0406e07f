"""Where a build's units run: a plain loop, or actors of Ray."""
