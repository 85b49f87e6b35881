"""Queues, and what they report of themselves."""
