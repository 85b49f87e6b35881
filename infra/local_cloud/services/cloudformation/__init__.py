"""Stacks: templates transformed, checked and packaged; their resources; change sets."""
