"""Video object detection with the one-way shift."""
