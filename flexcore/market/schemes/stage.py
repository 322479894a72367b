"""A coordination scheme is data: a list of clearing stages with nine fields each (D4.1 chapter 3)."""

import json
import re
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
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


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
        Who restores system balance after this stage: nobody, the stage itself, or the TSO in its own stage. A
        statement for readers; `needs` and `interface` are what makes a stage do it.
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

        def shown(value: Any) -> str:
            # strings of JSON are strings of TOML, and so are lists of them
            return json.dumps(value, ensure_ascii=False)

        key = self.name if _BARE_KEY.fullmatch(self.name) else shown(self.name)
        lines = [f"[{key}]", f"title = {shown(self.title)}", f"source = {shown(self.source)}"]
        for stage in self.stages:
            lines += ["", f"[[{key}.stages]]"]
            lines += [f"{name} = {shown(value)}" for name, value in stage.as_dict().items()]
        return "\n".join(lines) + "\n"


def check_scheme(scheme: Scheme) -> None:
    """Raise OptionError FX-M301 with every field of every stage that cannot be meant."""
    found = Findings(f"scheme {scheme.name}", len(scheme.stages))
    if not scheme.stages:
        found.add("FX-M301", f"scheme {scheme.name} has no stages", hint="give at least one stage")
    for number, stage in enumerate(scheme.stages):
        unknown = False
        for name, words in (*WORDS.items(), ("priority", ("cost", *WORDS["buyers"]))):
            value = getattr(stage, name)
            several = name in _SETS or name == "priority"
            given = value if several else (value,)
            if not isinstance(given, tuple) or not given or any(word not in words for word in given):
                unknown = True
                found.add(
                    "FX-M301", f"stage {number}: {name} is {value!r}", field=name, rows=[number],
                    hint=f"{'a tuple of' if several else 'one of'}: {', '.join(words)}",
                )  # fmt: skip
        if unknown:
            continue
        before = scheme.stages[number - 1].forward if number else "none"
        for message in (*_contradictions(stage), *_contradictions_of_kind(stage, before)):
            found.add("FX-M301", f"stage {number}: {message}", rows=[number])
    found.raise_errors(OptionError)


def _contradictions(stage: Stage) -> Iterable[str]:
    if not {"t", "d"} & set(stage.offers):
        yield "offers name no network: add 't', 'd' or both"
    if stage.priority != ("cost",) and sorted(stage.priority) != sorted(set(stage.buyers)):
        yield "priority must be ('cost',) or an order of all buyers"
    if "d_congestion" in stage.needs and "dso" not in stage.buyers and "peers" not in stage.buyers:
        yield "a need of the distribution grid needs its DSO (or peers) among the buyers"
    if "t_congestion" in stage.needs and stage.grid_seen not in ("t", "t+d"):
        yield "transmission congestion needs a clearing that sees the transmission grid"
    if {"balance", "t_congestion"} & set(stage.needs) and not {"tso", "peers"} & set(stage.buyers):
        yield "system balance and transmission congestion need 'tso' (or 'peers') among the buyers"
    if "trade" in stage.needs and not {"brp", "peers"} & set(stage.buyers):
        yield "trade needs 'brp' or 'peers' among the buyers"
    if "trade" in stage.needs and "balance" not in stage.needs:
        yield "trade needs 'balance' beside it: what is sold must be there"


def _contradictions_of_kind(stage: Stage, before: str) -> Iterable[str]:
    """Fields that the kind of a clearing could not keep: a book, a priced interface, a market of curves."""
    if stage.check == "inside" and stage.grid_seen not in ("d", "t+d") and before != "curve":
        yield "check 'inside' needs a clearing that sees the distribution grid, or curves of those who do"
    if "peers" in stage.buyers:
        if len(set(stage.buyers)) > 1:
            yield "peers trade among themselves: give operators a stage of their own"
        if "t_congestion" in stage.needs or stage.grid_seen != "d" or stage.check != "inside":
            yield "a book of peers keeps the distribution grid and no other: grid_seen 'd', check 'inside'"
        if stage.interface not in ("free", "internal") or before == "curve":
            yield "peers trade across interfaces: 'free' or 'internal', and no curve before"
    if stage.interface == "priced" and (set(stage.needs) != {"d_congestion"} or "t" in stage.offers):
        yield "an interface is priced where DSOs buy: needs ['d_congestion'], offers of 'd'"
    if before == "curve" and set(stage.needs) != {"balance", "t_congestion"}:
        yield "curves are weighed against balance and lines: needs ['balance', 't_congestion'] after forward 'curve'"


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
        stages = table.get("stages", []) if isinstance(table, Mapping) else None
        if not isinstance(stages, list | tuple) or not all(isinstance(stage, Mapping) for stage in stages):
            found.add("FX-M302", f"{name} is no table with a list of stages", hint=f"write [{name}], [[{name}.stages]]")
            continue
        extra = set(table) - {"title", "source", "stages"}
        if extra:
            found.add("FX-M302", f"{name}: unknown {', '.join(sorted(map(str, extra)))}")
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
