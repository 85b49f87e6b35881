"""docs/lifecycle.md is what the code says."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
document = runpy.run_path(str(DOCS / "make" / "lifecycle_diagram.py"))["document"]


def test_the_document_is_made_from_the_code_as_it_is():
    told = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    assert told == document(), "run: python docs/make/lifecycle_diagram.py"


def test_no_arrow_leads_out_of_what_is_for_ever():
    text = document()
    assert "rolled_back -->" not in text
    assert "rejected -->" not in text
    assert "shadow --> approved: PromotionApproved" in text
    assert "waiting_for_approval --> promoting: PromotionApproved" in text
