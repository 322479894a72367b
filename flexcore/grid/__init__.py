"""The network as physics: model, converters, power flow, needs, perimeters and capability."""
