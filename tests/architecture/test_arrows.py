"""Imports run one way, cores stay free of the world, and private parts are touched in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("coordinator", "signaling", "media", "web")

MAY_IMPORT = {
    "coordinator": {"coordinator"},
    "signaling": {"signaling", "coordinator"},
    "media": {"media", "coordinator"},
    "web": {"web", "signaling", "coordinator"},
}

# A core takes the time as an argument and owns no socket, clock, task or chance.
WORLD = {"asyncio", "aiohttp", "redis", "aiortc", "av", "time", "random", "socket", "subprocess"}
# aiortc.sdp and aiortc.rtp are parsers without I/O (media-plane: SDP is theirs).
PARSERS = {"aiortc.sdp", "aiortc.rtp", "aiortc.rtcrtpparameters", "aiortc"}


def python_files(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrows"
            yield node.lineno, node.module or ""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_core(path: Path) -> bool:
    """A module says that it is a core in the first line of its docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return "sans-io" in docstring.split("\n\n")[0].lower()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    wrong = [
        f"{relative(path)}:{line} imports {module}"
        for path in python_files(package)
        for line, module in imported_modules(ast.parse(path.read_text()))
        if module.split(".")[0] in {*PACKAGES, "tertulia", "tests"}
        and module.split(".")[0] not in MAY_IMPORT[package]
    ]
    assert wrong == []


def test_every_package_has_cores() -> None:
    for package in ("coordinator", "signaling", "media", "web"):
        assert any(is_core(path) for path in python_files(package)), package


def test_cores_import_nothing_of_the_world() -> None:
    wrong = [
        f"{relative(path)}:{line} imports {module}"
        for path in python_files(*PACKAGES)
        if is_core(path)
        for line, module in imported_modules(ast.parse(path.read_text()))
        if module.split(".")[0] in WORLD and module not in PARSERS
    ]
    assert wrong == []


def test_no_file_outgrows_one_subject() -> None:
    long = [
        f"{relative(path)} has {count} lines"
        for path in [*python_files(*PACKAGES), ROOT / "tertulia.py"]
        if (count := len(path.read_text().splitlines())) > 600
    ]
    assert long == []


def test_no_module_is_named_after_nothing() -> None:
    stems = {path.stem for path in python_files(*PACKAGES)}
    assert stems & {"helper", "helpers", "utils", "util", "manager", "common", "misc"} == set()


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def test_nothing_reads_the_environment_at_import() -> None:
    wrong = [
        f"{relative(path)}:{node.lineno}"
        for path in python_files(*PACKAGES)
        for node in outside_functions(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert wrong == []


def test_private_names_of_dependencies_are_touched_in_one_module() -> None:
    """aiortc's, aioice's and pylibsrtp's private parts: one file, which a contract test watches."""
    dependencies = {"aiortc", "aioice", "pylibsrtp"}
    touching = set()
    for path in python_files(*PACKAGES):
        tree = ast.parse(path.read_text())
        imports = {module.split(".")[0] for _, module in imported_modules(tree)}
        if not imports & dependencies:
            continue
        for node in ast.walk(tree):
            private_import = isinstance(node, ast.ImportFrom) and (
                (node.module or "").split(".")[0] in dependencies
                and any(alias.name.startswith("_") for alias in node.names)
            )
            foreign_private = (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
                and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
                and not (
                    isinstance(node.value, ast.Attribute)
                    and isinstance(node.value.value, ast.Name)
                    and node.value.value.id == "self"
                    and node.value.attr.startswith("_")
                    and path.parent.name != "transport"
                )
            )
            if private_import or foreign_private:
                touching.add(relative(path))
    assert len(touching) <= 1, touching
