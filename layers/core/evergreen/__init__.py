"""Evergreen decides when to retrain a model, proves the new version in shadow, repoints, watches, and rolls back."""

__version__ = "0.1.0"
