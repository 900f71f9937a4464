"""The exercise bank: checkers that say what is wrong with an answer, and which mistake it is.

``check("multihead.split-heads", split_heads)`` runs the answer on inputs whose sizes all differ, compares it
with a reference, and runs the known wrong versions beside it to say which one it equals.

One folder for each chapter, one module for each exercise. The page of the exercise, its hints and its
solution are ``book/exercises/<topic>-<name>.md``.
"""

from attncourse.exercises._catalogue import exercise_ids
from attncourse.exercises._check import check
from attncourse.exercises._result import Result

__all__ = ["Result", "check", "exercise_ids"]
