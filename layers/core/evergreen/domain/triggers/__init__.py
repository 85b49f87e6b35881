"""Whether a model is to be retrained: the checks, the rules that hold back, and the arbiter that decides."""
