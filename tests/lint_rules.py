"""Compare docs/reference/rules.toml with the rule markers of the tests, both ways; run by `make lint`."""

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def marked_rules(source: str) -> set[str]:
    """Keys K of every `pytest.mark.rule("K")` in a test file."""
    keys = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.rule"):
            keys |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return keys


def problems() -> list[str]:
    """One line for each rule without a test, test without a rule, and planned rule that has a test."""
    rules = tomllib.loads((ROOT / "docs/reference/rules.toml").read_text(encoding="utf-8"))
    marked = set().union(*(marked_rules(path.read_text(encoding="utf-8")) for path in ROOT.glob("tests/**/test_*.py")))
    built = {key for key, rule in rules.items() if rule["status"] == "built"}
    lines = [f"{key}: built, but no test carries its key" for key in sorted(built - marked)]
    lines += [f"{key}: a test carries it, but it is not in rules.toml" for key in sorted(marked - set(rules))]
    lines += [f"{key}: planned, but a test carries its key" for key in sorted(marked & (set(rules) - built))]
    return lines


if __name__ == "__main__":
    found = problems()
    print("\n".join(found) or "rule keys: tests and docs/reference/rules.toml agree")
    sys.exit(bool(found))
