"""Replay: run the deployed loop over a history, on a virtual clock, and report what it did and what it was worth."""
