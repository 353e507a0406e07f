"""Measurements: speed as ratios in one run, quality on labelled data."""
