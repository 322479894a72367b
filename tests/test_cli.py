"""The command line as a user meets it: results, refusals, exit codes."""

import json
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import flexcore
from flexcore import cities
from flexcore.cli import app, main
from flexcore.errors import MissingExtraError, ValidationError

TINY = ("--code", "1-LV-rural2--0-sw")


def call(*args, **options):
    return subprocess.run([sys.executable, "-m", "flexcore", *args], capture_output=True, text=True, **options)


def test_a_run_writes_tables_and_a_report(tmp_path):
    done = call("run", *TINY, "--out", str(tmp_path / "day"), "--day", "2026-03-29")
    assert done.returncode == 0, done.stderr
    assert "LFP_1" in done.stdout
    assert "certified in" in done.stdout
    names = {path.name for path in (tmp_path / "day").iterdir()}
    assert {"report.html", "run.json", "sessions.parquet", "settlement_lines.parquet", "statements"} <= names
    assert list((tmp_path / "day" / "statements").glob("BSP-*.html"))


def test_json_is_all_that_is_printed(tmp_path):
    done = call("run", *TINY, "--out", str(tmp_path), "--json", "--no-report", "--seed", "2")
    shown = json.loads(done.stdout)
    assert shown["seed"] == 2
    assert len(shown["sessions"]) == 12
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--day", "2026-02-31"), "FX-T005"),
        (("--code", "nowhere"), "FX-C001"),
        (("--code", "1-MV-rural--0-sw"), "FX-G001"),
        (("--out", "/proc/flexcore"), "cannot write to"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_refusals_say_why_and_do_not_exit_with_zero(args, said, tmp_path):
    done = call("run", *TINY, "--out", str(tmp_path), *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_refused_leaves_no_folder(tmp_path):
    for args in (("--day", "2026-02-31"), ("--code", "nowhere")):
        assert call("run", *TINY, "--out", str(tmp_path / "new"), *args).returncode == 2
        assert not (tmp_path / "new").exists()


def test_a_bad_day_and_a_missing_plotly_are_refused_before_the_city_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(cities, "simbench", lambda *args, **options: pytest.fail("the city was loaded"))
    refused = CliRunner().invoke(app, ["run", "--out", str(tmp_path), "--day", "tomorrow"])
    assert isinstance(refused.exception, ValidationError)
    monkeypatch.setitem(sys.modules, "plotly", None)
    refused = CliRunner().invoke(app, ["run", "--out", str(tmp_path)])
    assert isinstance(refused.exception, MissingExtraError)


def test_a_folder_is_no_markup(tmp_path):
    out = tmp_path / "[red]x"
    done = call("run", *TINY, "--out", str(out), "--no-report")
    assert done.returncode == 0, done.stderr
    assert "[red]x" in done.stdout
    assert (out / "run.json").exists()


@pytest.mark.parametrize("then", ["itself", "wrapped", "lost"])
def test_an_interruption_says_so_and_exits_with_130(then, monkeypatch, capsys):
    def interrupt(*args, **options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if then == "wrapped":  # as numba does while it compiles
                raise RuntimeError("lowering failed") from error
            if then == "itself":
                raise
        raise AttributeError("partially initialized module")  # as an import does that was broken off

    monkeypatch.setattr(cities, "simbench", interrupt)
    monkeypatch.setattr(sys, "argv", ["flexcore", "run"])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_doctor_and_version():
    facts = json.loads(call("doctor", "--json").stdout)
    assert facts["flexcore"] == flexcore.__version__
    assert "92 quarter-hours" in facts["clock change"]
    assert call("--version").stdout.strip() == flexcore.__version__
