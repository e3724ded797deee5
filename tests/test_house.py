"""Where things live; which way imports point is in .importlinter, which scripts/check runs."""

import ast
import re
import sys
import tomllib
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
SOURCES = ("service", "models", "clients")

# The client names what comes over the wire as the service does.
MIRROR = "clients/goodcert/client/results.py"
# All that a checker whom others shall believe may import besides itself.
CHECKER_LIBRARIES = set(sys.stdlib_module_names) | {"numpy", "onnx"}


def modules() -> list[tuple[str, Path]]:
    return [
        (path.relative_to(ROOT / source / "goodcert").parts[0], path)
        for source in SOURCES
        for path in sorted((ROOT / source / "goodcert").rglob("*.py"))
    ]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


def test_every_folder_of_modules_is_a_package_for_otherwise_the_import_linter_overlooks_it() -> None:
    folders = {path.parent for _, path in modules() if "migrations" not in path.parts}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_the_checker_shares_no_code_and_is_read_in_one_sitting() -> None:
    paths = [path for name, path in modules() if name == "checker"]
    for path in paths:
        others = {module for module in imported(path) if not module.startswith("goodcert.checker")}
        assert {module.split(".")[0] for module in others} <= CHECKER_LIBRARIES, path
    assert 0 < sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) < 400


def test_no_module_lies_beside_the_packages_of_the_service() -> None:
    serve = ROOT / "service" / "goodcert" / "serve"
    assert [path.name for path in serve.glob("*.py")] == ["__init__.py"]


def test_no_class_is_named_twice_but_for_the_clients_mirror_of_the_wire() -> None:
    places: dict[str, list[str]] = {}
    for _, path in modules():
        place = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and place != MIRROR:
                places.setdefault(node.name, []).append(place)
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_a_docstring_has_more_than_three_words() -> None:
    """What fewer can say, the name says."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    short = [
        (path.relative_to(ROOT).as_posix(), text)
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, documented) and (text := ast.get_docstring(node)) and len(text.split()) <= 3
    ]
    assert short == []


def test_no_init_hides_the_other_source_folders() -> None:
    assert not [source for source in SOURCES if (ROOT / source / "goodcert" / "__init__.py").exists()]


def test_the_wheel_holds_every_module_the_default_model_and_the_licence(tmp_path: Path) -> None:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(built).namelist())
    expected = {
        f"goodcert/{path.relative_to(ROOT / path.relative_to(ROOT).parts[0] / 'goodcert')}"
        for _, path in modules()
    }
    assert expected <= names
    assert "goodcert/serve/oip/inference.binpb" in names
    assert {"goodcert/zoo/mnist-good100/1/model.onnx", "goodcert/evaluation/report.html"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "scripts")) for name in names)


def test_the_plain_install_is_the_light_client() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [need.split(">")[0] for need in project["dependencies"]] == ["httpx"]


def test_torch_is_asked_for_without_an_index() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "torch>=2.11,<2.14" in extras["engine"]


PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
RUNNING = {"eval", "exec", "compile", "__import__"}


def shipped() -> list[Path]:
    return [path for _, path in modules()] + sorted((ROOT / "scripts").rglob("*.py"))


def called(path: Path) -> set[str]:
    """What is called, as it is written, and the keywords it is called with."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func) for call in calls}
    return names | {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}


def test_nothing_that_ships_unpickles_or_runs_what_it_reads() -> None:
    for path in shipped():
        assert not {name.split(".")[0] for name in imported(path)} & PICKLES, path
        names = called(path)
        assert not names & (RUNNING | {"torch.load", "torch.save", "torch.jit.load", "allow_pickle"}), path
        assert not {name for name in names if name.endswith((".read_pickle", ".to_pickle"))}, path


def test_every_question_of_the_map_leads_to_a_file() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = re.findall(r"^\| .+\? \| \[(.+?)\]\((.+?)\) \|$", page, re.MULTILINE)
    assert len(files) >= 20
    assert not [path for name, path in files if not (ROOT / path).is_file() or Path(path).name != name]
