"""Questions that need no stack: files in, an answer out."""
