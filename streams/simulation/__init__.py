"""The stages on an in-memory log, in virtual time, with faults: a history is a function of its seed."""
