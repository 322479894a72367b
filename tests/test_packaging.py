"""What a user installs: every module of the tree, no numba at import, one name for every kernel."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules_of_tree():
    flex = {f"flexcore/{path.relative_to(ROOT / 'flexcore')}" for path in (ROOT / "flexcore").rglob("*.py")}
    flex = {name for name in flex if not name.startswith("flexcore/kernels/")}
    return flex | {
        f"flexcore/kernels/{path.relative_to(ROOT / 'kernels')}" for path in (ROOT / "kernels").rglob("*.py")
    }


def test_pyproject_lists_every_package():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert listed == {str(Path(name).parent).replace("/", ".") for name in modules_of_tree()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # a copy is built: a build in the tree would leave its folder there and pick up what an older one left
    where, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("flexcore", "kernels"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", where, source],
        check=True, capture_output=True, cwd=where,
    )  # fmt: skip
    return next(where.glob("*.whl"))


def test_the_wheel_holds_every_module_of_the_tree(wheel, tmp_path):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.endswith(".py")} == modules_of_tree()
    assert "flexcore/py.typed" in names
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import flexcore.kernels, flexcore; print(flexcore.__file__, flexcore.kernels.__file__)"
    shown = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True,
                           env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"}, cwd=tmp_path)  # fmt: skip
    assert shown.stdout.split() == [f"{tmp_path}/flexcore/__init__.py", f"{tmp_path}/flexcore/kernels/__init__.py"]


def test_import_loads_no_numba():
    code = (
        "import sys, flexcore\n"
        "heavy = {'numba', 'llvmlite', 'scipy', 'pyarrow', 'pandapower', 'pandas', 'plotly', 'typer', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def test_every_public_name_exists():
    import flexcore

    for name in flexcore.__all__:
        assert getattr(flexcore, name) is not None
    with pytest.raises(AttributeError):
        flexcore.no_such_name  # noqa: B018 - the access is the test
