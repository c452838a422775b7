"""The one error that bad data raises."""


class DataError(ValueError):
    """Input data a user can mend: one line saying what was wrong, what was expected, how to mend it."""
