"""Mistakes that are the user's to mend."""


class UserError(Exception):
    """A mistake in the user's input: its message names the key or file, what was wrong and what to do."""
