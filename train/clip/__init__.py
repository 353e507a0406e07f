"""The mask-prompted CLIP: model, text, and the files that it comes from and goes to."""
