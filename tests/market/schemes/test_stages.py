"""Schemes as data: words, contradictions, TOML, presets and the CoordiNet group of each."""

import pytest

from flexcore.errors import OptionError
from flexcore.market.schemes import Scheme, Stage, coordinet_group, presets, read_schemes, safety_level, scheme
from flexcore.market.schemes.stage import WORDS

#: The group of every preset by D4.1 section 3.3 and the notes on SmartNet, INTERRFACE and Platone.
GROUPS = {
    "smartnet_a": "central",
    "smartnet_b": "multi_level",
    "smartnet_c": "fragmented",
    "smartnet_d1": "common",
    "smartnet_d2": "multi_level",
    "smartnet_e": "integrated",
    "interrface_1a_dt": "multi_level",
    "interrface_1a_td": "multi_level",
    "interrface_1a_sim": "multi_level",
    "interrface_1b": "multi_level",
    "interrface_1c": "multi_level",
    "interrface_2b": "multi_level",
    "coordinet_local": "local",
    "coordinet_central": "central",
    "coordinet_common": "common",
    "coordinet_integrated": "integrated",
    "coordinet_multi_level": "multi_level",
    "coordinet_fragmented": "fragmented",
    "coordinet_distributed": "distributed",
    "platone": "common",
    "d41": "multi_level",
}


def test_every_preset_has_its_coordinet_group():
    assert {name: coordinet_group(found) for name, found in presets().items()} == GROUPS


def test_a_preset_survives_toml_and_uses_known_words_only():
    for name, found in presets().items():
        again = read_schemes(found.to_toml())
        assert again == {name: found}
        for stage in found.stages:
            assert set(stage.as_dict()) == {*WORDS, "priority"}


def test_a_scheme_of_ones_own_needs_three_fields():
    mine = read_schemes('[mine]\n[[mine.stages]]\nbuyers = ["dso"]\nneeds = ["d_congestion"]\noffers = ["d"]\n')["mine"]
    assert coordinet_group(mine) == "local"
    assert mine.title == "mine"
    assert mine.stages == (Stage(("dso",), ("d_congestion",), ("d",)),)


def test_names_lead_to_schemes_and_schemes_to_themselves():
    found = scheme("d41")
    assert scheme(found) is found
    with pytest.raises(OptionError, match="FX-E002"):
        scheme("d42")


def test_safety_levels_change_the_check_of_the_second_stage_only():
    checks = {level: safety_level("d41", level).stages[1].check for level in ("L0", "L1", "L2", "L3", "L4")}
    assert checks == {"L0": "none", "L1": "static", "L2": "dynamic", "L3": "inside", "L4": "inside"}
    assert safety_level("d41", "L4").stages[0].forward == "curve"
    assert safety_level("d41", "L1").name == "d41_l1"
    with pytest.raises(OptionError):
        safety_level("coordinet_common", "L2")
    with pytest.raises(OptionError):
        safety_level("d41", "L5")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"buyers": ("bank",)}, "buyers"),
        ({"needs": ()}, "needs"),
        ({"offers": ("cm_d",)}, "network"),
        ({"priority": ("tso",)}, "priority"),
        ({"check": "inside", "grid_seen": "t"}, "inside"),
        ({"needs": ("trade",)}, "trade"),
        ({"buyers": ("tso",)}, "DSO"),
        ({"needs": ("t_congestion",), "grid_seen": "d"}, "transmission"),
        ({"forward": "everything"}, "forward"),
    ],
)
def test_contradictions_are_refused_with_their_stage(change, word):
    good = Stage(("dso",), ("d_congestion",), ("d",), grid_seen="d", check="inside")
    Scheme("mine", "mine", (good,))
    wrong = Stage(**{**{name: getattr(good, name) for name in Stage.__slots__}, **change})
    with pytest.raises(OptionError, match=word) as caught:
        Scheme("mine", "mine", (good, wrong))
    assert {finding.code for finding in caught.value.findings} == {"FX-M301"}
    assert all(finding.rows == (1,) for finding in caught.value.findings)


def test_all_problems_of_a_file_are_named_at_once():
    text = """
[one]
[[one.stages]]
buyers = ["dso"]
needs = ["d_congestion"]
[two]
[[two.stages]]
buyers = ["tso"]
needs = ["balance"]
offers = ["t"]
colour = "blue"
"""
    with pytest.raises(OptionError) as caught:
        read_schemes(text)
    messages = [finding.message for finding in caught.value.findings]
    assert [finding.code for finding in caught.value.findings] == ["FX-M302", "FX-M302"]
    assert "missing offers" in messages[0]
    assert "unknown colour" in messages[1]
    with pytest.raises(OptionError, match="FX-M302"):
        read_schemes("[one")
    with pytest.raises(OptionError, match="no stages"):
        read_schemes("[one]\ntitle = 'x'\n")
