"""Cities, day runs, key figures and the report: the room that wires all others."""
