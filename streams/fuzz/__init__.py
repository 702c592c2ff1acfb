"""Hostile bytes for everything that reads bytes of others: formats of raw frames, and the codecs of records.

Whatever comes in, a reader answers or raises the one error that it promises, in bounded time and memory.
"""
