"""The shell of every page: one HTML file, light and dark, no script, nothing fetched from anywhere."""

from __future__ import annotations

from html import escape
from pathlib import Path

STYLE_SHEET = Path(__file__).with_name("page.css")


def page(title: str, body: str) -> str:
    """Return a whole HTML document.

    Parameters
    ----------
    title : str
        Plain text, for the browser's tab.
    body : str
        Markup, for the page's ``<main>``; charts are inline SVG that the style sheet colours.

    Examples
    --------
    >>> html = page("Drift & co", "<h1>No drift</h1>")
    >>> "<title>Evergreen: Drift &amp; co</title>" in html, "<h1>No drift</h1>" in html
    (True, True)
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Evergreen: {escape(title)}</title>
<style>
{STYLE_SHEET.read_text(encoding="utf-8").strip()}
</style>
</head>
<body>
<main>
{body.strip()}
</main>
</body>
</html>
"""
