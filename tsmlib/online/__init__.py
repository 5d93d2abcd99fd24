"""TSM on streams of frames."""
