"""What goes wrong in a way that the person at the keyboard can mend."""


class CourseProblem(Exception):
    """Something is missing or not allowed; the text says what, by which rule, and how to mend it."""
