"""The README's stack, its week and its server: what it says is what happens."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "infra" / "local_cloud" / "README.md"
BLOCKS = [block for _, block in re.findall(r"```(yaml|python)\n(.*?)```", README.read_text(), re.DOTALL)]
FILES = {block.splitlines()[0].removeprefix("# "): block for block in BLOCKS if block.startswith("# ")}
PROGRAMS = [block for block in BLOCKS if not block.startswith("# ")]


@pytest.mark.parametrize("program", PROGRAMS, ids=["week", "server"])
def test_what_the_readme_shows_runs(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(FILES) == {"template.yaml", "code/app.py"}
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, str(README), "exec"), {})
