"""The order of the book: which chapter builds which module, and who owns a name."""

import ast
import re
import tomllib
from pathlib import Path

from tests.support.book import ROOT, Page, tree_of

PACKAGE = ROOT / "attncourse"
# Modules that no chapter builds: every chapter may use them.
FREE = {
    "_checks",
    "tasks",
    "training",
    "head_viewer",
    "explorers",
    "viz",
    "display",
    "exercises",
    "classroom",
}
BUILT = re.compile(r"Built\s+in\s+chapter\s+(\d+)")


def module_files(package: Path = PACKAGE) -> dict[str, list[Path]]:
    """Return the files of every top-level module of the package; a subpackage has several."""
    found = {}
    for path in sorted(package.iterdir()):
        if path.suffix == ".py" and path.name != "__init__.py":
            found[path.stem] = [path]
        elif (path / "__init__.py").is_file():
            found[path.name] = sorted(path.rglob("*.py"))
    return found


def chapter_table(package: Path = PACKAGE) -> dict[str, int | None]:
    """Return the chapter that builds each module, from its own docstrings; None where none says so.

    The module's docstring decides; without a word there, the earliest chapter that a docstring in it names.
    """
    table: dict[str, int | None] = {}
    for name, files in module_files(package).items():
        of_module, of_parts = [], []
        for path in files:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            of_module += map(int, BUILT.findall(ast.get_docstring(tree) or ""))
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    of_parts += map(int, BUILT.findall(ast.get_docstring(node) or ""))
        table[name] = min(of_module or of_parts, default=None)
    return table


def layers(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return the modules in teaching order, first taught first, from the import contract."""
    settings = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [one for one in settings["contracts"] if one.get("id") == "teaching-order"]
    return [name.strip() for layer in reversed(contract["layers"]) for name in re.split(r"[|:]", layer)]


def table_problems(table: dict[str, int | None], order: list[str]) -> list[str]:
    """Return where the docstrings' chapters and the import contract disagree."""
    found = [
        f"{name} is in the import contract but not in the package" for name in order if name not in table
    ]
    found += [f"{name} is not in the import contract" for name in table if name not in order]
    latest, latest_name = 0, ""
    for name in order:
        chapter = table.get(name)
        if name in FREE:
            if chapter is not None:
                found.append(f"{name} is free for every chapter, yet says that chapter {chapter} builds it")
        elif name in table and chapter is None:
            found.append(f'{name} must say which chapter builds it: "Built in chapter N." in its docstring')
        elif chapter is not None:
            if chapter < latest:
                found.append(f"{name} (chapter {chapter}) stands above {latest_name} (chapter {latest})")
            else:
                latest, latest_name = chapter, name
    return found


def imported_modules(cell: dict) -> set[str]:
    """Return the modules of the package that a cell imports."""
    found = set()
    for node in ast.walk(tree_of(cell) or ast.Module([], [])):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("attncourse.")}
    return found


def progression_problems(page: Page, table: dict[str, int | None]) -> list[str]:
    """Return the imports of modules that a later chapter builds."""
    found = []
    for cell in page.code_cells:
        for name in sorted(imported_modules(cell)):
            where = f"{page.name}[{cell['id']}]"
            if name.startswith("_") and not name.startswith("__"):
                found.append(f"{where}: imports the private module {name}")
            built = table.get(name)
            if page.chapter is not None and built is not None and built > page.chapter:
                found.append(f"{where}: imports {name}, which chapter {built} builds")
    return found


def owned_names(package: Path = PACKAGE) -> dict[str, str]:
    """Return every public name that a module of the package defines, with its module.

    The exercise bank owns none: readers write there under the names that the book uses.
    """
    owners: dict[str, str] = {}
    for module, files in module_files(package).items():
        if module in ("exercises", "classroom"):
            continue
        for path in files:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                for name in _bound_by(node):
                    if not name.startswith("_"):
                        owners.setdefault(name, module)
    return owners


def second_copy_problems(page: Page, owners: dict[str, str]) -> list[str]:
    """Return the cells that bind a name of the package; importing it from the package is no binding."""
    found = []
    for cell in page.code_cells:
        for name in _bindings(tree_of(cell) or ast.Module([], [])):
            if name in owners:
                found.append(
                    f"{page.name}[{cell['id']}]: binds {name}, which attncourse.{owners[name]} owns: "
                    "give the draft another name"
                )
    return found


def _targets(node: ast.AST) -> list[str]:
    """Return the plain names in an assignment's target."""
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]


def _bound_by(node: ast.stmt) -> list[str]:
    """Return the names that a definition or an assignment at the top level of a module binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [name for target in node.targets for name in _targets(target)]
    return _targets(node.target) if isinstance(node, ast.AnnAssign) else []


def _bindings(tree: ast.AST, *, local: bool = False) -> list[str]:
    """Return the names that a cell binds: definitions anywhere, all else outside of functions and classes.

    A local variable of a function shadows nothing that a reader could call in the next cell.
    """
    found: list[str] = []
    for node in ast.iter_child_nodes(tree):
        inner = local
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            # A method may have a public function's name: it is reached through its class.
            if not isinstance(tree, ast.ClassDef):
                found.append(node.name)
            inner = True
        elif isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inner = True
        elif isinstance(node, ast.Import | ast.ImportFrom):
            ours = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "attncourse"
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                if not (ours and bound == alias.name):
                    found.append(bound)
        elif isinstance(node, ast.ExceptHandler) and node.name and not local:
            found.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not local:
            found.append(node.id)
        found += _bindings(node, local=inner)
    return found
