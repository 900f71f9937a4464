"""Attention mechanisms, built step by step: the companion package of the book."""

__version__ = "0.1.0"
