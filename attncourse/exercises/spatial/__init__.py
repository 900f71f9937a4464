"""Checkers of the exercises of chapter 11."""
