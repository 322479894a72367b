"""Pages that are generated are up to date, links lead somewhere, and every Python block of the documentation runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate import HERE, PAGES

ROOT = Path(__file__).parents[1]
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
WITH_CODE = [page for page in WRITTEN if "```python" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name):
    assert (HERE / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    code = "\n".join(blocks)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_api_page_shows_the_source_and_not_numpy():
    text = PAGES["api.md"]()
    assert "npt.ArrayLike" in text
    assert "_typing" not in text
    assert "Union[" not in text
    for name in (
        "Grid.from_tables",
        "Grid.from_pandapower",
        "Register.apply_static_light",
        "DayRun.write",
        "CapabilityResult",
    ):
        assert f"{name}\n" in text, name
