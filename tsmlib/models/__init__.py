"""Models: the temporal shift, the recognizers that use it, their weights and faster forms."""
