"""Training jobs, run for real."""
