"""Stands in the place of `attncourse.exercises` where an answer runs again: no reference, no tests."""


class _Nothing:
    """What a check returns there: nobody reads it."""

    def points(self, maximum: float) -> float:
        """Return 0.0."""
        return 0.0


def check(*args: object, **options: object) -> _Nothing:
    """Do nothing: the outputs are compared elsewhere."""
    return _Nothing()
