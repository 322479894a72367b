"""Names the CoordiNet group of any scheme by need, buyer, number of markets and access of the TSO to DER (D4.1 3.3)."""

from flexcore.market.schemes.stage import Scheme

GROUPS = ("local", "central", "common", "integrated", "multi_level", "fragmented", "distributed")


def coordinet_group(scheme: Scheme) -> str:
    """Return the CoordiNet group of a scheme, one of `GROUPS`.

    The four questions are asked in the order of CoordiNet: which needs are bought for, who buys, in how many markets,
    and whether the TSO reaches resources of the distribution systems. A stage is a market.
    """
    buyers = {buyer for stage in scheme.stages for buyer in stage.buyers}
    needs = {need for stage in scheme.stages for need in stage.needs}
    local, central = "d_congestion" in needs, bool({"balance", "t_congestion"} & needs)
    if "peers" in buyers:
        return "distributed"
    if local and not central:
        return "local"
    if central and not local:
        return "central"
    if len(scheme.stages) == 1:
        return "integrated" if "brp" in buyers else "common"
    reaches = any("tso" in stage.buyers and "d" in stage.offers for stage in scheme.stages)
    return "multi_level" if reaches else "fragmented"
