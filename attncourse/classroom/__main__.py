"""``python -m attncourse.classroom``: the command line."""

from attncourse.classroom.cli import main

main()
