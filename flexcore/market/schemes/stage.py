"""A coordination scheme is data: a list of clearing stages with nine fields each (D4.1 chapter 3)."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from flexcore.errors import Findings, OptionError

#: What each field of a stage may hold. Fields of `_SETS` hold any of the words, the others exactly one.
WORDS: dict[str, tuple[str, ...]] = {
    "buyers": ("tso", "dso", "brp", "peers"),
    "needs": ("balance", "t_congestion", "d_congestion", "trade"),
    "offers": ("t", "d", "cm_d", "cm_t", "balancing"),
    "grid_seen": ("none", "t", "d", "t+d"),
    "interface": ("free", "priced", "fixed", "bounded", "internal"),
    "balance": ("none", "stage", "tso"),
    "forward": ("none", "remaining", "unselected", "filtered", "curve", "same_book"),
    "check": ("none", "static", "dynamic", "ex_post", "inside"),
}
_SETS = ("buyers", "needs", "offers")
#: Products that an offer may be listed in, in the order of the bits of `SchemeOffers.products`.
PRODUCTS = ("cm_d", "cm_t", "balancing")


@dataclass(frozen=True, slots=True)
class Stage:
    """One clearing of a scheme.

    Attributes
    ----------
    buyers : tuple of {"tso", "dso", "brp", "peers"}
        Who buys.
    needs : tuple of {"balance", "t_congestion", "d_congestion", "trade"}
        What is bought for: system balance, transmission congestion, congestion and voltage of the distribution
        systems, trade between market parties.
    offers : tuple of {"t", "d", "cm_d", "cm_t", "balancing"}
        Offers of units connected to transmission, to distribution; product names narrow both to the offers listed in
        one of these products.
    grid_seen : {"none", "t", "d", "t+d"}
        Networks whose limits the clearing knows.
    interface : {"free", "priced", "fixed", "bounded", "internal"}
        Flow between a distribution system and transmission: not looked at; at a price per MWh; kept at its schedule;
        kept within bounds; a variable of one joint clearing.
    balance : {"none", "stage", "tso"}
        Who restores system balance after this stage: nobody, the stage itself (it keeps every interface schedule), or
        the TSO in its own stage.
    forward : {"none", "remaining", "unselected", "filtered", "curve", "same_book"}
        What the next stage may use of the distribution offers: nothing; what is left of each; only units that nobody
        selected (D4.1: one unit, one operator); what is left after the DSO's filter; one aggregated cost curve per
        system; everything again, without reservation.
    priority : tuple of str
        Buyers in the order in which they are served from the book; ("cost",): total cost decides.
    check : {"none", "static", "dynamic", "ex_post", "inside"}
        How the distribution grid is protected: not at all, by the static traffic light per unit, by the dynamic one per
        perimeter and step, by removing harmful awards afterwards, by its constraints inside the clearing.
    """

    buyers: tuple[str, ...]
    needs: tuple[str, ...]
    offers: tuple[str, ...]
    grid_seen: str = "none"
    interface: str = "free"
    balance: str = "none"
    forward: str = "none"
    priority: tuple[str, ...] = ("cost",)
    check: str = "none"

    def as_dict(self) -> dict[str, Any]:
        """The nine fields as plain lists and words."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in fields(self)
        }

    @property
    def products(self) -> tuple[str, ...]:
        """Products that narrow the offers; empty for all."""
        return tuple(word for word in self.offers if word in PRODUCTS)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A named list of stages.

    Attributes
    ----------
    name : str
        Short name, such as "coordinet_multi_level".
    title : str
        Name for tables and pictures.
    stages : tuple of Stage
        In the order of clearing.
    source : str
        Where the scheme is described.
    """

    name: str
    title: str
    stages: tuple[Stage, ...]
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse words that no stage knows, and combinations that contradict themselves."""
        check_scheme(self)

    def with_stage(self, number: int, **changes: Any) -> "Scheme":
        """Return the scheme with some fields of one stage changed; the name stays."""
        stages = list(self.stages)
        stages[number] = replace(stages[number], **changes)
        return replace(self, stages=tuple(stages))

    def renamed(self, name: str, title: str) -> "Scheme":
        """Return the scheme under another name."""
        return replace(self, name=name, title=title)

    def to_toml(self) -> str:
        """Write the scheme as a TOML table that `read_schemes` reads."""
        lines = [f"[{self.name}]", f'title = "{self.title}"', f'source = "{self.source}"']
        for stage in self.stages:
            lines += ["", f"[[{self.name}.stages]]"]
            for name, value in stage.as_dict().items():
                shown = (
                    "[" + ", ".join(f'"{word}"' for word in value) + "]" if isinstance(value, list) else f'"{value}"'
                )
                lines.append(f"{name} = {shown}")
        return "\n".join(lines) + "\n"


def check_scheme(scheme: Scheme) -> None:
    """Raise OptionError FX-M301 with every field of every stage that cannot be meant."""
    found = Findings(f"scheme {scheme.name}", len(scheme.stages))
    if not scheme.stages:
        found.add("FX-M301", f"scheme {scheme.name} has no stages", hint="give at least one stage")
    for number, stage in enumerate(scheme.stages):
        for name, words in WORDS.items():
            value = getattr(stage, name)
            given = value if name in _SETS else (value,)
            wrong = [word for word in given if word not in words]
            if wrong or (name in _SETS and not given):
                found.add(
                    "FX-M301", f"stage {number}: {name} is {value!r}", field=name, rows=[number],
                    hint=f"allowed: {', '.join(words)}",
                )  # fmt: skip
        for message in _contradictions(stage):
            found.add("FX-M301", f"stage {number}: {message}", rows=[number])
    found.raise_errors(OptionError)


def _contradictions(stage: Stage) -> Iterable[str]:
    if not {"t", "d"} & set(stage.offers):
        yield "offers name no network: add 't', 'd' or both"
    if stage.priority != ("cost",) and set(stage.priority) != set(stage.buyers):
        yield "priority must be ('cost',) or an order of all buyers"
    if "d_congestion" in stage.needs and "dso" not in stage.buyers and "peers" not in stage.buyers:
        yield "a need of the distribution grid needs its DSO (or peers) among the buyers"
    if stage.check == "inside" and stage.grid_seen not in ("d", "t+d") and stage.interface != "internal":
        yield "check 'inside' needs a clearing that sees the distribution grid"
    if "t_congestion" in stage.needs and stage.grid_seen not in ("t", "t+d"):
        yield "transmission congestion needs a clearing that sees the transmission grid"
    if "trade" in stage.needs and not {"brp", "peers"} & set(stage.buyers):
        yield "trade needs 'brp' or 'peers' among the buyers"


def read_schemes(source: str | Path | Mapping[str, Any]) -> dict[str, Scheme]:
    """Read schemes from a TOML file, TOML text or a mapping.

    Parameters
    ----------
    source : path, str or mapping
        One table per scheme: `title`, `source` and a list `stages` with the fields of `Stage`; sets are lists.

    Raises
    ------
    OptionError
        FX-M301 with every wrong field, FX-M302 for text that is no TOML or a stage with unknown or missing fields.
    """
    found = Findings("schemes")
    if isinstance(source, Mapping):
        tables: Mapping[str, Any] = source
    else:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found.add("FX-M302", f"not TOML: {error}", hint="pass the text of a file, or a pathlib.Path")
            found.raise_errors(OptionError)
    known = {field.name for field in fields(Stage)}
    needed = {"buyers", "needs", "offers"}
    schemes = {}
    for name, table in tables.items():
        stages = table.get("stages", []) if isinstance(table, Mapping) else []
        for number, stage in enumerate(stages):
            wrong, missing = set(stage) - known, needed - set(stage)
            if wrong or missing:
                what = ", ".join([*(f"unknown {w}" for w in sorted(wrong)), *(f"missing {m}" for m in sorted(missing))])
                found.add("FX-M302", f"{name}, stage {number}: {what}", rows=[number])
        if found:
            continue
        cut: list[dict[str, Any]] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in stage.items()} for stage in stages
        ]
        schemes[name] = Scheme(
            name, str(table.get("title", name)), tuple(Stage(**stage) for stage in cut), str(table.get("source", ""))
        )
    found.raise_errors(OptionError)
    return schemes
