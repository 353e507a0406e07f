"""The mask-prompted CLIP: model, data, training and evaluation. Never imports pipeline or Ray."""
