"""Copy the package without anything that answers an exercise, for the sandbox where answers run again."""

import compileall
import shutil
from pathlib import Path

import attncourse
from attncourse.classroom.carrying import COMMON

PACKAGE = Path(attncourse.__file__).parent
HERE = Path(__file__).parent


def make_bare(folder: Path) -> Path:
    """Write the copy into an empty folder, with the program that runs answers, and return that program.

    The copy holds the modules that the chapters build. In the place of the exercises it holds a ``check``
    that does nothing, and the modules that run and encode.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Returns
    -------
    Path
        ``inside.py`` in that folder; Python finds the copy when it runs it.
    """
    copy = folder / "attncourse"
    without = shutil.ignore_patterns("exercises", "classroom", "__pycache__")
    shutil.copytree(PACKAGE, copy, ignore=without)
    (copy / "exercises").mkdir()
    shutil.copy(HERE / "bare_exercises.py", copy / "exercises" / "__init__.py")
    for name in COMMON:
        shutil.copy(PACKAGE / "exercises" / f"{name}.py", copy / "exercises")
    program = folder / "inside.py"
    shutil.copy(HERE / "inside.py", program)
    compileall.compile_dir(folder, quiet=1)
    return program
