"""What an honest answer to an exercise rarely needs: the lists that `suspicion` goes by."""

import re

CHECK = "attncourse.exercises.check"
INSIDE = ("attncourse.exercises", "attncourse.classroom")

# What exercises use, and what does no harm beside it.
MODULES = frozenset({
    "__future__", "abc", "attncourse", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses",
    "decimal", "enum", "fractions", "functools", "heapq", "itertools", "math", "matplotlib", "numbers",
    "numpy", "operator", "pprint", "random", "re", "statistics", "string", "textwrap", "time", "torch",
    "typing", "warnings",
})  # fmt: skip

# Modules by which code leaves the notebook or looks behind it.
SYSTEM = frozenset({
    "IPython", "ast", "atexit", "builtins", "code", "codecs", "codeop", "ctypes", "dis", "faulthandler", "gc",
    "importlib", "inspect", "io", "linecache", "marshal", "mmap", "multiprocessing", "os", "pathlib", "pdb",
    "pickle", "pkgutil", "posix", "pty", "resource", "runpy", "shelve", "shutil", "signal", "site", "socket",
    "sqlite3", "subprocess", "sys", "tempfile", "thread", "threading", "traceback", "types", "unittest",
    "urllib", "weakref",
})  # fmt: skip
# They also hide in harmless ones: torch.os, random._os. These names mean something else there: torch.signal.
HIDDEN = SYSTEM - {"IPython", "code", "io", "resource", "signal", "site", "types"}

# Built-in functions that run a text, or reach a file or the keyboard.
DYNAMIC = frozenset({"exec", "eval", "compile", "__import__", "open", "input", "breakpoint"})

# Functions of harmless modules that read or write files, and with them, in part, run code.
FILES = (
    "numpy.DataSource", "numpy.ctypeslib", "numpy.f2py", "numpy.fromfile", "numpy.genfromtxt", "numpy.load",
    "numpy.loadtxt", "numpy.memmap", "numpy.save", "numpy.savetxt", "numpy.savez", "numpy.savez_compressed",
    "torch.from_file", "torch.hub", "torch.load", "torch.package", "torch.save", "torch.utils.cpp_extension",
)  # fmt: skip

# Names that lead from an object to other people's code and variables.
BEHIND = frozenset({
    "__base__", "__bases__", "__builtins__", "__closure__", "__code__", "__globals__", "__loader__",
    "__mro__", "__spec__", "__subclasses__", "_getframe", "ag_frame", "cr_frame", "f_back",
    "f_builtins", "f_code", "f_globals", "f_locals", "gi_frame", "tb_frame", "tb_next",
})  # fmt: skip

# Names that change how the notebook runs cells and shows results.
KERNEL = frozenset({
    "NodeTransformer", "ast_transformers", "display_pub", "displayhook", "get_ipython",
    "input_transformers_cleanup", "input_transformers_post", "set_custom_exc", "showtraceback",
    "user_global_ns", "user_ns",
})  # fmt: skip
HISTORY = frozenset({"In", "Out", "_i", "_ih", "_ii", "_iii", "_oh"})
QUIET_MAGICS = frozenset({"matplotlib", "pinfo", "pinfo2", "precision", "psearch", "who", "whos", "xmode"})

# Methods by which an object answers a comparison or a conversion as it likes.
OVERRIDES = frozenset({
    "__array__", "__array_function__", "__array_interface__", "__array_ufunc__", "__bool__", "__class__",
    "__complex__", "__deepcopy__", "__eq__", "__float__", "__getattribute__", "__index__",
    "__instancecheck__", "__int__", "__ne__", "__reduce__", "__reduce_ex__", "__subclasscheck__",
    "__torch_dispatch__", "__torch_function__",
})  # fmt: skip

# Names that stand for something in every notebook of the course, whether or not the import is at hand.
USUAL = {
    "np": "numpy", "torch": "torch", "nn": "torch.nn", "F": "torch.nn.functional",
    "plt": "matplotlib.pyplot", "math": "math", "check": CHECK, "__builtins__": "builtins",
}  # fmt: skip

# Texts: places on the disk, what belongs to grading, and data in disguise.
PLACE = re.compile(
    r"""(?:^|[\s"'=:(/])(?:/(?:home|etc|proc|root|usr|var|tmp|sys|dev|opt|mnt|srv|bin)(?:/|$)|~/|\.\./|[A-Z]:\\)"""
    r"|gradebook|nbgrader|\.ipynb\b"
)
PACKED = re.compile(r"(?=[A-Za-z0-9+/=_-]*\d)[A-Za-z0-9+/=_-]{200}|[\x80-\xff]{200}")
