"""How a job ends that did not succeed: by a mistake that the user can fix, or because it was told to stop."""


class UserError(Exception):
    """A mistake in the user's input: its message names the key or file, what was wrong and what to do."""


class Interrupted(Exception):
    """The job was told to stop by a signal, and has kept what it did.

    Args:
        message: how far it came.
        signal: number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
