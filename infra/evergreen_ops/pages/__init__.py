"""Pages to look at: their shell, their style sheet, their charts."""
