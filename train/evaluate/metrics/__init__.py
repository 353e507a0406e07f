"""Scores of semantic segmentation: confusion matrix, IoU figures, open-vocabulary figures, oracle labels."""
