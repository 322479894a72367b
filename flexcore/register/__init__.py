"""The register: parties, PODs, units, aggregates, static traffic light, products and prequalification.

It knows PODs; the grid room knows nodes. `flexcore.Register` is the front door; the other modules work on plain arrays.
"""
