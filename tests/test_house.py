"""Where things live and which way the arrows point."""

import ast
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
SOURCES = ("service", "models", "clients")

# Who may import whom, inside goodcert. Whoever is not named here may be imported by the command line alone.
ALLOWED = {
    "artifact": set(),
    "bounds": set(),
    "nets": set(),
    "data": set(),
    "zoo": set(),
    "client": set(),
    "engine": {"artifact", "bounds"},
    "training": {"artifact", "bounds", "data", "engine", "nets"},
    "evaluation": {"artifact", "bounds", "data", "engine", "nets"},
    "serve": {"artifact", "bounds", "engine", "zoo"},
}
FORBIDDEN_LIBRARIES = {
    "bounds": {"fastapi", "starlette", "uvicorn", "pydantic", "onnxruntime", "httpx"},
    "artifact": {"fastapi", "starlette", "torch", "onnxruntime"},
    "engine": {"fastapi", "starlette", "uvicorn", "pydantic", "httpx"},
    "training": {"fastapi", "starlette", "uvicorn", "httpx"},
    "serve": {"httpx", "torch", "onnxruntime"},
    "client": {"numpy", "torch", "onnx", "onnxruntime", "fastapi", "pydantic"},
}
# Inside bounds: each module may import those before it.
BOUNDS_ORDER = [
    "interval", "rounding", "rule", "affine", "pooling", "elementwise", "activations", "bilinear", "movement",
    "resize", "transcendental", "normalization", "reductions", "rules", "catalogue", "interpreter", "confidence",
    "joint", "classifier", "chain", "crown",
]  # fmt: skip

# Inside serve: each folder may import those before it.
SERVE_ORDER = [
    "core", "settings", "images", "batching", "repository", "telemetry", "certifier", "proof", "ledger", "events",
    "recording", "admission", "http", "oip", "server",
]  # fmt: skip


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
        elif isinstance(node, ast.ImportFrom) and node.module == "goodcert":
            names.update(f"goodcert.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    for name, path in modules():
        if name == package:
            own = {module.split(".")[1] for module in imported(path) if module.startswith("goodcert.")}
            assert own <= ALLOWED[package] | {package}, path


@pytest.mark.parametrize("package", FORBIDDEN_LIBRARIES)
def test_a_package_does_without_the_libraries_that_are_not_its_business(package: str) -> None:
    for name, path in modules():
        if name == package:
            assert not {module.split(".")[0] for module in imported(path)} & FORBIDDEN_LIBRARIES[package], path


def test_arrows_between_the_folders_of_the_service_point_one_way() -> None:
    serve = ROOT / "service" / "goodcert" / "serve"
    assert {path.name for path in serve.iterdir() if (path / "__init__.py").exists()} == set(SERVE_ORDER)
    for place, folder in enumerate(SERVE_ORDER):
        for path in (serve / folder).rglob("*.py"):
            parts = (name.split(".") for name in imported(path) if name.startswith("goodcert.serve."))
            assert {part[2] for part in parts}.isdisjoint(SERVE_ORDER[place + 1 :]), path


def test_every_package_has_its_arrows_written_down() -> None:
    assert {name for name, _ in modules()} == set(ALLOWED) | {"cli"}


def test_inside_bounds_the_arrows_point_one_way() -> None:
    for position, name in enumerate(BOUNDS_ORDER):
        later = {f"goodcert.bounds.{other}" for other in BOUNDS_ORDER[position + 1 :]}
        assert not imported(ROOT / f"models/goodcert/bounds/{name}.py") & later


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
