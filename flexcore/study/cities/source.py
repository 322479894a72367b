"""SimBench networks and their year of quarter-hour profiles, converted once and kept in the user's cache.

SimBench (Meinecke et al., Energies 2020, 13(12), 3290) is read from the installed package; its data is licensed under
the ODbL 1.0, and nothing derived from it leaves the user's machine. After the first call neither pandapower nor
simbench is imported again for the same code and versions.
"""

import dataclasses
import datetime as dt
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, MissingExtraError, ValidationError
from flexcore.grid import network
from flexcore.grid.network import Forest, Grid
from flexcore.metering.calendar import Calendar

ATTRIBUTION = (
    "Network and profiles: SimBench (University of Kassel, Fraunhofer IEE, RWTH Aachen, TU Dortmund), simbench.de, "
    "ODbL 1.0. Customers, devices, providers, offers and needs are synthetic."
)
#: SimBench's profiles are those of this leap year, on a clock without daylight saving.
SOURCE_YEAR = 2016
_QUARTERS = 96
# One unit profile each: air and ground source, three ways of running the backup heater, two buildings.
HEAT_PUMP_PROFILES = tuple(
    f"{kind}_{building}"
    for kind in ("Air_Alternative", "Air_Parallel", "Air_Semi-Parallel", "Soil_Alternative")
    for building in (1, 2)
)
PV_PROFILES = tuple(f"PV{number}" for number in range(1, 9))
_V_MIN_PU, _V_MAX_PU = 0.90, 1.10
_LAYOUT = "1"  # raise when the cached arrays change their meaning


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A network with its customers as SimBench ships them.

    Attributes
    ----------
    code : str
    grid : Grid
    x, y : ndarray, shape (n_nodes,)
        Longitude and latitude. [degree]
    load_key : ndarray of int64, shape (n_loads,)
        The load's own number in SimBench; all seeded draws hang on it.
    load_node : ndarray of int32
    load_w : ndarray, shape (n_loads,)
        Active power at a profile value of 1. [W]
    load_tan_phi : ndarray
        Reactive over active power.
    load_profile : ndarray of int32
        Column of `profiles`.
    load_kind : ndarray of str
        SimBench's profile name.
    plant_key, plant_node, plant_w, plant_profile, plant_kind
        The same for generators (PV, hydro, ...).
    profile_names : ndarray of str, shape (n_profiles,)
    profiles : ndarray of float32, shape (366, 96, n_profiles)
        Memory-mapped where the cache could be written: a day is read when it is needed.
    """

    code: str
    grid: Grid
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    load_key: npt.NDArray[np.int64]
    load_node: npt.NDArray[np.int32]
    load_w: npt.NDArray[np.float64]
    load_tan_phi: npt.NDArray[np.float64]
    load_profile: npt.NDArray[np.int32]
    load_kind: npt.NDArray[np.str_]
    plant_key: npt.NDArray[np.int64]
    plant_node: npt.NDArray[np.int32]
    plant_w: npt.NDArray[np.float64]
    plant_profile: npt.NDArray[np.int32]
    plant_kind: npt.NDArray[np.str_]
    profile_names: npt.NDArray[np.str_]
    profiles: npt.NDArray[np.float32]

    def columns(self, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
        """Return the columns of `profiles` with these names."""
        where = {name: column for column, name in enumerate(self.profile_names.tolist())}
        return np.array([where[name] for name in names], np.int32)


def city_calendar() -> Calendar:
    """Return the calendar of the cities, Italy with Rome's patron saints; FX-E001 where `holidays` is missing."""
    return Calendar("IT", subdivision="RM")


def source_day(date: dt.date, *, holiday: bool = False) -> int:
    """Return the day of SimBench's year (0..365) that stands for a date.

    It is the day with the same weekday that lies closest to the same month and day of 2016, at most three days away and
    inside the year: a Wednesday in March is always a Wednesday in March. People live a holiday as a Sunday.
    """
    weekday = 6 if holiday else date.weekday()
    same = dt.date(SOURCE_YEAR, date.month, date.day)
    for shift in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6):
        candidate = same + dt.timedelta(days=shift)
        if candidate.weekday() == weekday and candidate.year == SOURCE_YEAR:
            return candidate.timetuple().tm_yday - 1
    raise AssertionError("every weekday occurs within six days on one side of any date")


def cache_folder() -> Path | None:
    """Return the folder of converted cities, or None if FLEXCORE_CACHE is 0."""
    if os.environ.get("FLEXCORE_CACHE") == "0":
        return None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flexcore" / "cities"


def load_source(code: str) -> Source:
    """Return the converted network of a SimBench code, from the cache or from the installed packages.

    Raises
    ------
    MissingExtraError
        FX-E001 if simbench or pandapower is not installed.
    ValidationError
        FX-C001 if SimBench has no such code.
    GridError
        If the network is one that `Grid.from_pandapower` refuses, for instance because it is not radial.
    """
    folder = cache_folder()
    if folder is not None:
        folder = folder / _digest(code)
        try:
            return _read(folder, code)
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder, ignore_errors=True)
    tables, profiles = _convert(code)
    if folder is not None and _write(folder, tables, profiles):
        return _read(folder, code)
    return _assemble(code, tables, profiles)


def _digest(code: str) -> str:
    """Return the name of the cached conversion: versions, code and the sources that convert."""
    digest = hashlib.sha256(f"{_LAYOUT} {code}".encode())
    for package in ("simbench", "pandapower"):
        try:
            digest.update(f" {package} {importlib.metadata.version(package)}".encode())
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtraError(package, "city") from error
    here = Path(network.__file__).parent
    for path in (Path(__file__), here / "network.py", here / "forest.py", here / "pandapower.py"):
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _read(folder: Path, code: str) -> Source:
    with np.load(folder / "tables.npz", allow_pickle=False) as file:
        tables = {name: file[name] for name in file.files}
    return _assemble(code, tables, np.load(folder / "profiles.npy", mmap_mode="r", allow_pickle=False))


def _write(folder: Path, tables: dict[str, npt.NDArray[Any]], profiles: npt.NDArray[np.float32]) -> bool:
    """Write the folder under a temporary name and rename it: other processes see all of it or nothing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing-"))
    except OSError:
        return False
    try:
        np.savez(work / "tables.npz", allow_pickle=False, **tables)
        np.save(work / "profiles.npy", profiles, allow_pickle=False)
        work.rename(folder)
    except OSError:
        # a full disk, or another process was first
        shutil.rmtree(work, ignore_errors=True)
        return folder.exists()
    return True


def _assemble(code: str, tables: dict[str, npt.NDArray[Any]], profiles: npt.NDArray[np.float32]) -> Source:
    grid = _grid_from_arrays({name[5:]: array for name, array in tables.items() if name.startswith("grid_")})
    rest = {name: array for name, array in tables.items() if not name.startswith("grid_")}
    return Source(code=code, grid=grid, profiles=profiles, **rest)


def _grid_to_arrays(grid: Grid) -> dict[str, npt.NDArray[Any]]:
    names = [field.name for field in dataclasses.fields(grid) if field.init and not field.name.startswith("_")]
    arrays = {f"grid_{name}": getattr(grid, name) for name in names if name not in ("spanning", "mesh", "links")}
    return arrays | {f"grid_forest_{name}": array for name, array in grid.forest._asdict().items()}


def _grid_from_arrays(arrays: dict[str, npt.NDArray[Any]]) -> Grid:
    forest = {name[7:]: array for name, array in arrays.items() if name.startswith("forest_")}
    fields: dict[str, Any] = {name: array for name, array in arrays.items() if not name.startswith("forest_")}
    return Grid(spanning=Forest(**forest), **fields)


def _convert(code: str) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Read a network from the installed packages; seconds, and only when the cache does not have it."""
    try:
        import simbench
    except ImportError as error:
        raise MissingExtraError("simbench", "city") from error
    if code not in simbench.collect_all_simbench_codes():
        found = Findings("code")
        found.add("FX-C001", f"SimBench has no network {code!r}", hint="for instance 1-MVLV-urban-all-0-sw")
        found.raise_errors(ValidationError)
    net = simbench.get_simbench_net(code)
    grid = Grid.from_pandapower(net)
    # SimBench's own bands are planning values, down to 1.01 for some nodes; supply is judged by EN 50160
    band = (np.full(grid.n_nodes, _V_MIN_PU), np.full(grid.n_nodes, _V_MAX_PU))
    grid = dataclasses.replace(grid, v_min_pu=band[0], v_max_pu=band[1])
    load = net.load[net.load.in_service & net.load.profile.notna()]
    plant = net.sgen[net.sgen.in_service & net.sgen.profile.notna()]
    load_profiles = tuple(sorted(set(load.profile)))
    plant_profiles = tuple(sorted(set(plant.profile) | set(PV_PROFILES)))
    folder = Path(simbench.networks.extract_simbench_grids_from_csv.complete_data_path(int(code.split("-")[-2])))
    columns = [
        *_csv_columns(folder / "LoadProfile.csv", [f"{name}_pload" for name in load_profiles + HEAT_PUMP_PROFILES]),
        *_csv_columns(folder / "RESProfile.csv", list(plant_profiles)),
    ]
    names = load_profiles + HEAT_PUMP_PROFILES + plant_profiles
    where = {name: column for column, name in enumerate(names)}
    x, y = _coordinates(net, grid)
    load_w = load.p_mw.to_numpy(np.float64) * load.scaling.to_numpy(np.float64) * 1e6
    load_var = load.q_mvar.to_numpy(np.float64) * load.scaling.to_numpy(np.float64) * 1e6
    tables = _grid_to_arrays(grid) | {
        "x": x,
        "y": y,
        "load_key": load.index.to_numpy(np.int64),
        "load_node": grid.node_index(load.bus.to_numpy(np.int64)).astype(np.int32),
        "load_w": load_w,
        "load_tan_phi": np.divide(load_var, load_w, out=np.zeros_like(load_w), where=load_w != 0),
        "load_profile": np.array([where[name] for name in load.profile], np.int32),
        "load_kind": load.profile.to_numpy(str),
        "plant_key": plant.index.to_numpy(np.int64),
        "plant_node": grid.node_index(plant.bus.to_numpy(np.int64)).astype(np.int32),
        "plant_w": plant.p_mw.to_numpy(np.float64) * plant.scaling.to_numpy(np.float64) * 1e6,
        "plant_profile": np.array([where[name] for name in plant.profile], np.int32),
        "plant_kind": plant.profile.to_numpy(str),
        "profile_names": np.array(names),
    }
    series = np.stack(columns, axis=1).astype(np.float32)
    n_days = series.shape[0] // _QUARTERS
    return tables, np.ascontiguousarray(series[: n_days * _QUARTERS].reshape(n_days, _QUARTERS, -1))


def _csv_columns(path: Path, names: list[str]) -> list[npt.NDArray[np.float64]]:
    from pyarrow import csv

    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=";"),
        convert_options=csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, "float64"), null_values=["", "NULL", "nan"]
        ),
    )
    return [table[name].to_numpy() for name in names]


def _coordinates(net: Any, grid: Grid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return longitude and latitude of each node; NaN where the bus has none."""
    x, y = np.full(grid.n_nodes, np.nan), np.full(grid.n_nodes, np.nan)
    texts = net.bus.geo.loc[grid.node_ids] if "geo" in net.bus else []
    for node, text in enumerate(texts):
        if isinstance(text, str):
            x[node], y[node] = json.loads(text)["coordinates"][:2]
    return x, y
