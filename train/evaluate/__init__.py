"""Evaluation: regions named, photos segmented, on the field's benchmarks."""
