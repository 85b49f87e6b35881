"""Transactions, and streams that are read in order."""
