"""For instructors: assign exercises, grade them in a sandbox, write feedback, export grades.

The command line is ``attncourse`` (``attncourse.classroom.cli``); the book explains it in "For instructors".
Nothing here is imported by a chapter.
"""
