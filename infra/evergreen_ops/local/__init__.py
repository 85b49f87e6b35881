"""A local cloud: a template deployed on this machine, on a virtual clock, with nothing contacted outside it."""
