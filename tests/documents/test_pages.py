"""README and docs: short, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").glob("*.md")), HOME / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [k for k in links if "://" not in k and not (page.parent / k).exists()]
    assert not missing


def test_the_readme_is_short_and_begins_with_commands_and_answers():
    text = (HOME / "README.md").read_text()
    assert len(text.split()) <= 900
    assert text.count("<!-- end of") == 1  # one generated part
    assert text.index("make train cfg=sthv1") < text.index("| question |") < text.index("\n## ")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_targets_of_make_exist(page):
    targets = re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(), flags=re.M)
    named = re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), flags=re.M)
    listed = re.findall(r"^([a-z -]+): ", (HOME / "Makefile").read_text(), flags=re.M)
    assert set(named) <= {*targets, *" ".join(listed).split()}


def test_the_example_in_python_runs():
    text = re.search(r"```python\n(.*?)```", (HOME / "README.md").read_text(), flags=re.S)[1]
    smaller = text.replace("224", "64").replace("epochs=1", "epochs=1, standin_clips=(16, 8)")
    names: dict = {}
    exec(smaller, names)
    assert names["logits"].shape == (2, 174)
    assert names["shifted"].shape == (32, 64, 56, 56)
    assert names["record"]["cfg"] == "sthv1" and names["record"]["num_videos"] == 8
