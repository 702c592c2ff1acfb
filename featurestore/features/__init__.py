"""Tiles and features, one file for a theme; each is found by being here."""
