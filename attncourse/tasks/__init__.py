"""Seeded task generators, one file each, every one with its gold answer and gold alignment."""
