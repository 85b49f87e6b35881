"""Edits of a syntax tree: made where the source has what they look for exactly once, and nowhere else."""

import ast
import textwrap

import pytest
from edits import EditError, always, dropped, ignored, instead, never, replaced, swapped, without

SOURCE = textwrap.dedent("""\
    def store(client, item, ready):  # whose?
        '''Stores it: ähnlich.'''
        if ready and (
            item["a"] != "é"  # says why
        ):
            raise ValueError(item)
        elif item is None:
            return None
        client.put(  # once
            Item=item,
            Condition="new",
        )
        first = client.read()
        # Only then.
        second = look(first or item)
        while ready:
            client.wait(1)
        return f"{item['a']}-{second}", {"a": 1, "Condition": "old", **item}
    """)


def made(edit, source=SOURCE):
    return edit.made(source, ast.parse(source))


def changed(edit):
    """The lines that are other ones after an edit."""
    lines = zip(SOURCE.splitlines(), made(edit).splitlines(), strict=True)
    return [after.strip() for before, after in lines if after != before]


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (never("elif item is None"), "elif False:"),
        (always("while ready"), "while True:"),
        (dropped("raise ValueError(item)"), "pass"),
        (instead("client.wait(...)", "break"), "break"),
        (ignored("item"), "second = look(first or False)"),
        (ignored("ready"), "if True and ("),
        (replaced("item['a'] != 'é'", "None"), "(None)  # says why"),
        (replaced("look(...)", "first"), "second = (first)"),
        (replaced("second", "'x'"), """return f"{item['a']}-{('x')}", {"a": 1, "Condition": "old", **item}"""),
    ],
    ids=lambda part: getattr(part, "sought", ""),
)
def test_only_what_is_looked_for_changes(edit, line):
    assert changed(edit) == [line]


def test_a_condition_is_found_however_it_is_written_and_the_comments_around_it_stay():
    after = made(never("if ready and item['a'] != 'é'"))
    assert "    if False:\n        raise ValueError(item)\n" in after
    assert [line.split("#")[1] for line in after.splitlines() if "#" in line] == [" whose?", " once", " Only then."]


def test_a_call_loses_a_keyword_and_a_dict_a_key():
    source = "client.put(\n    Item=item, Condition='new',\n)  # once\n"
    assert made(without("Condition"), source) == "client.put(Item=item)  # once\n"
    source = "x = [{'a': 1, 'Condition': 'old', **more}]"
    assert made(without("Condition"), source) == "x = [{'a': 1, **more}]"


def test_two_statements_change_places_and_the_comment_between_them_stays():
    after = made(swapped("first = client.read()", "second = look(first or item)"))
    assert "    second = look(first or item)\n    # Only then.\n    first = client.read()\n" in after


def test_what_is_put_in_place_of_a_part_stays_whole():
    assert made(replaced("b", "c + d"), "a = b * 2") == "a = (c + d) * 2"


@pytest.mark.parametrize(
    "edit",
    [
        never("if item"),
        always("while item"),
        dropped("client.get()"),
        instead("raise KeyError(item)", "pass"),
        ignored("first and item"),
        replaced("item['b']", "None"),
        without("Unknown"),
        swapped("first = client.read()", "third = look()"),
    ],
    ids=lambda edit: edit.sought,
)
def test_what_is_not_there_is_an_error_that_says_what_was_looked_for(edit):
    with pytest.raises(EditError, match="is there 0 times, not once") as caught:
        made(edit)
    assert edit.sought in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "source"),
    [
        (never("if a"), "if a:\n    b()\nif a:\n    c()\n"),
        (dropped("b()"), "b()\nif a:\n    b()\n"),
        (ignored("a"), "a and b\nb or a\n"),
        (replaced("a", "b"), "a\nb(a)\n"),
        (without("a"), "b(a=1)\nc = {'a': 1}\n"),
        (swapped("a()", "b()"), "a()\nb()\nb()\n"),
    ],
    ids=lambda part: getattr(part, "sought", ""),
)
def test_what_is_there_twice_is_an_error_that_says_where(edit, source):
    with pytest.raises(EditError, match=r"is there 2 times, not once \(lines \d, \d\)"):
        made(edit, source)


def test_a_name_that_is_assigned_is_no_expression_to_replace():
    assert made(replaced("a", "b"), "a = a + 1") == "a = (b) + 1"


def test_a_number_is_not_taken_for_a_truth_value():
    assert made(replaced("1", "2"), "a = [True, 1, 1.0]") == "a = [True, (2), 1.0]"


@pytest.mark.parametrize("header", ["for a in b", "actual", "if actual !="])
def test_a_header_that_is_none_is_refused(header):
    with pytest.raises(EditError):
        never(header)


@pytest.mark.parametrize("statement", ["a(", "a()\nb()", ""])
def test_one_statement_is_looked_for(statement):
    with pytest.raises(EditError, match="is not one statement"):
        dropped(statement)
