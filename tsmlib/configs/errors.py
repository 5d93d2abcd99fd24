"""The error of a configuration."""


class ConfigError(ValueError):
    """A configuration that cannot be run as written; the message says what to change."""
