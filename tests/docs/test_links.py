"""Every relative link leads somewhere, also to the heading that it names."""

from __future__ import annotations

import re

import pytest
from documents import DOCUMENTS, ROOT, anchors, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file):
    lost = []
    for target in LINK.findall(prose(file)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        to = (file.parent / path).resolve() if path else file
        if not to.exists() or (anchor and anchor not in anchors(to)):
            lost.append(target)
    assert [] == lost


def test_every_page_can_be_reached_from_the_readme():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(prose(ROOT / "README.md"))}
    assert set() == set((ROOT / "docs").glob("*.md")) - linked


def test_anchors_are_those_of_github(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("# A `b_c`, d!\n\n## Same\n\n## Same\n\n```text\n# none\n```\n\n### [[score]]\n", encoding="utf-8")
    assert {"a-b_c-d", "same", "same-1", "score"} == anchors(file)
