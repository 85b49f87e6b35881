"""docs/lifecycle.md is what the code says."""

from evergreen_ops.lifecycle_diagram import DOCUMENT, document


def test_the_document_is_made_from_the_code_as_it_is():
    told = DOCUMENT.read_text(encoding="utf-8")
    assert told == document(), "run: python -m evergreen_ops.lifecycle_diagram"


def test_no_arrow_leads_out_of_what_is_for_ever():
    text = document()
    assert "rolled_back -->" not in text
    assert "rejected -->" not in text
    assert "shadow --> approved: PromotionApproved" in text
    assert "waiting_for_approval --> promoting: PromotionApproved" in text
