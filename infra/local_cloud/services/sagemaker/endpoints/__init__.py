"""Endpoints that answer: fleets of containers, deployments, shadows, captures."""
