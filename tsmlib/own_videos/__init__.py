"""One's own videos: a folder as a training set, prediction, windows, features, activation maps."""
