"""Evergreen: decides when a model is to be retrained, proves the new version in shadow, repoints, watches, rolls back."""

__version__ = "0.1.0"
