"""The published ablations in miniature, on the rendered world; see docs/ablation.md."""
