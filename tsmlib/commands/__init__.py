"""The commands of `python -m tsmlib`, a module for each group."""
