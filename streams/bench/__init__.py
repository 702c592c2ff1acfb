"""Benchmarks on a real broker: how fast, how late, how large. They measure and assert nothing."""
