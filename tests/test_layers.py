"""The direction of imports that import-linter cannot see: what a kernel may import."""

import ast
from pathlib import Path

KERNELS = Path(__file__).parents[1] / "kernels"
COMPILERS = ("_jit.py", "_simd.py")
ROOMS = ["grid", "assets", "forecast", "metering", "register", "market", "settlement"]


def test_kernels_import_numbers_only():
    for path in KERNELS.rglob("*.py"):
        if path.name in COMPILERS:
            continue
        room = path.relative_to(KERNELS).parts[0]
        above = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else []
        allowed = {"numpy", "math", "typing", "flexcore.kernels._jit", "flexcore.kernels._simd"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                of_room = any(name.startswith(f"flexcore.kernels.{r}") for r in above)
                assert name in allowed or of_room, f"{path}: imports {name}"


def test_only_two_files_call_numba():
    for path in [*KERNELS.rglob("*.py"), *KERNELS.parent.glob("flexcore/**/*.py")]:
        if path.name in COMPILERS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.split(".")[0] in ("numba", "llvmlite") for name in names), path
