import datetime as dt
import subprocess
import sys

import numpy as np
import pytest

from flexcore import cities
from flexcore.errors import ValidationError
from flexcore.study.cities import source as simbench

TINY = "1-LV-rural2--0-sw"


@pytest.fixture(scope="module")
def converted():
    """The arrays of a converted network, as `_convert` returns them."""
    source = simbench.load_source(TINY)
    names = [name for name in simbench.Source.__dataclass_fields__ if name not in ("code", "grid", "profiles")]
    return {name: getattr(source, name) for name in names} | simbench._grid_to_arrays(source.grid), source.profiles


@pytest.fixture
def counted(converted, monkeypatch, tmp_path):
    """A cache folder of its own, and a count of conversions."""
    calls = []
    monkeypatch.delenv("FLEXCORE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def convert(code):
        calls.append(code)
        return converted

    monkeypatch.setattr(simbench, "_convert", convert)
    return calls


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_the_source_day_has_the_same_weekday_and_is_near(year):
    for number in range(365):
        date = dt.date(year, 1, 1) + dt.timedelta(number)
        found = dt.date(simbench.SOURCE_YEAR, 1, 1) + dt.timedelta(simbench.source_day(date))
        assert found.weekday() == date.weekday()
        assert abs((found - dt.date(simbench.SOURCE_YEAR, date.month, date.day)).days) <= 6
        if dt.date(year, 1, 4) <= date <= dt.date(year, 12, 28):
            assert abs((found - dt.date(simbench.SOURCE_YEAR, date.month, date.day)).days) <= 3


def test_a_holiday_is_lived_as_a_sunday_nearby():
    for number in range(365):
        date = dt.date(2026, 1, 1) + dt.timedelta(number)
        found = dt.date(simbench.SOURCE_YEAR, 1, 1) + dt.timedelta(simbench.source_day(date, holiday=True))
        assert found.weekday() == 6
        assert abs((found - dt.date(simbench.SOURCE_YEAR, date.month, date.day)).days) <= 6
    assert simbench.city_calendar().is_holiday(dt.date(2026, 6, 29))


def test_a_network_is_converted_once_and_read_from_the_cache(counted):
    first, second = simbench.load_source(TINY), simbench.load_source(TINY)
    assert counted == [TINY]
    assert isinstance(second.profiles, np.memmap)
    np.testing.assert_array_equal(first.load_w, second.load_w)
    np.testing.assert_array_equal(first.grid.node_ids, second.grid.node_ids)
    for one, other in zip(first.grid.forest, second.grid.forest, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_a_broken_cache_is_replaced_and_leaves_nothing_behind(counted, tmp_path):
    simbench.load_source(TINY)
    (folder,) = (tmp_path / "cache" / "flexcore" / "cities").iterdir()
    (folder / "tables.npz").write_bytes(b"half a file")
    again = simbench.load_source(TINY)
    assert counted == [TINY, TINY]
    assert again.load_w.size == 99
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_without_a_writable_folder_it_runs_uncached(counted, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert simbench.load_source(TINY).load_w.size == 99
    monkeypatch.setenv("FLEXCORE_CACHE", "0")
    assert simbench.load_source(TINY).load_w.size == 99
    assert len(counted) == 2
    assert blocked.read_text() == "not a folder"


def test_a_filled_cache_needs_neither_pandapower_nor_simbench():
    simbench.load_source(TINY)
    code = (
        "import sys; from flexcore import cities; cities.tiny();"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'pandapower', 'simbench', 'pandas'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_code_is_refused_by_name():
    with pytest.raises(ValidationError) as caught:
        cities.simbench("1-LV-nowhere--0-sw")
    assert caught.value.codes == ("FX-C001",)
    assert "1-LV-nowhere--0-sw" in str(caught.value)


def test_the_conversion_keeps_simbench_s_own_totals(converted):
    tables, profiles = converted
    pandapower_net = pytest.importorskip("simbench").get_simbench_net(TINY)
    np.testing.assert_allclose(tables["load_w"].sum(), pandapower_net.load.p_mw.sum() * 1e6, rtol=1e-12)
    np.testing.assert_allclose(
        (tables["load_w"] * tables["load_tan_phi"]).sum(), pandapower_net.load.q_mvar.sum() * 1e6, rtol=1e-12
    )
    assert profiles.shape[:2] == (366, 96)
    name = str(tables["load_kind"][0])
    own = pandapower_net.profiles["load"][f"{name}_pload"].astype(float).to_numpy().reshape(366, 96)
    column = tables["load_profile"][0]
    np.testing.assert_allclose(profiles[:, :, column], own, atol=1e-6)
