"""The schemes that ship with flexcore, and variants of a scheme by level of grid safety."""

from functools import cache
from importlib import resources
from types import MappingProxyType

from flexcore.errors import check_option
from flexcore.market.schemes.stage import Scheme, read_schemes

#: Levels of grid safety for what a TSO buys after a DSO: what its stage gets for `check`, and the DSO's for `forward`.
SAFETY_LEVELS: dict[str, tuple[str, str]] = {
    "L0": ("none", "remaining"),
    "L1": ("static", "remaining"),
    "L2": ("dynamic", "remaining"),
    "L3": ("inside", "remaining"),
    "L4": ("inside", "curve"),
}


@cache
def presets() -> "MappingProxyType[str, Scheme]":
    """Return the schemes of presets.toml by name, in the order of the literature."""
    text = resources.files(__package__).joinpath("presets.toml").read_text(encoding="utf-8")
    return MappingProxyType(read_schemes(text))


def scheme(which: str | Scheme) -> Scheme:
    """Return a scheme by its name; a scheme is returned as it is.

    Raises
    ------
    OptionError
        FX-E002 for a name that is not one of `presets()`.
    """
    if isinstance(which, Scheme):
        return which
    check_option("scheme", which, tuple(presets()))
    return presets()[which]


def safety_level(base: str | Scheme, level: str) -> Scheme:
    """Return a two-stage scheme, DSO then TSO, with another protection of the distribution grid in the second stage.

    Parameters
    ----------
    base : str or Scheme
    level : {"L0", "L1", "L2", "L3", "L4"}
        No check; static traffic light; dynamic traffic light; constraints inside the TSO's clearing; one aggregated
        cost curve per distribution system (Ananduta, Sanjab and Marques, arXiv 2406.04889).
    """
    check_option("level", level, tuple(SAFETY_LEVELS))
    found = scheme(base)
    check_option("number of stages", str(len(found.stages)), ("2",))
    check, forward = SAFETY_LEVELS[level]
    if forward == "remaining" and found.stages[0].forward == "unselected":
        forward = "unselected"  # one unit, one operator: a rule of the market, no protection of the grid
    seen = "t+d" if level == "L3" else "t"
    interface = "internal" if level in ("L3", "L4") else "free"
    changed = found.with_stage(0, forward=forward).with_stage(1, check=check, grid_seen=seen, interface=interface)
    return changed.renamed(f"{found.name}_{level.lower()}", f"{found.title}, {level}")
