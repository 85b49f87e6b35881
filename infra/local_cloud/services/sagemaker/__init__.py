"""Training jobs that train, and endpoints that answer."""
