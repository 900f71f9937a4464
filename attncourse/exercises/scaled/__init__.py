"""Checkers of the exercises of chapter 4."""
