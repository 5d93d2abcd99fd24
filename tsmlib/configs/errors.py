"""The error that every wrong configuration raises."""


class ConfigError(ValueError):
    """A configuration that cannot be run as written; the message says what to change."""
