"""What is cited: every paper that a method names, once, as BibTeX that parses."""

import re
from typing import ClassVar

import pytest

import smalti as sm
from smalti.core import registry
from smalti.core.citation import _references, citation, entries, entries_of
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.features.convnet import SelfSupervised
from smalti.mil.bag_mean import BagMean

OURS = [cls for room in registry.ROOMS for cls in registry.own(room).values()] + [SelfSupervised]


def keys(text):
    return list(entries(text, "test"))


@pytest.mark.parametrize("cls", OURS, ids=lambda c: c.name)
def test_a_method_with_a_paper_cites_it(cls):
    years = re.findall(r"\((\d{4})\)", cls.reference)
    if not years:
        assert cls.reference.startswith(("Baseline", "control"))
        assert list(entries_of(cls)) == ["pedregosa2011"]
        return
    text = "".join(entries_of(cls)[k] for k in cls.cite)
    assert years[0] in re.findall(r"year = \{(\d+)\}", text)
    # who comes first in the reference is the first author of an entry; accents apart
    plain = re.sub(r"\{\\aa\}", "a", re.sub(r"\{\\.(\w)\}", r"\1", text))
    first = re.findall(r"author = \{([^,\s]+)", plain)
    named = cls.reference.replace("é", "e").replace("ä", "a").replace("ö", "o")
    assert any(name in named for name in first), (first, named)


def test_the_references_parse_and_each_is_used():
    found = _references()
    for key, entry in found.items():
        assert entry.count("{") == entry.count("}")
        assert re.search(r"\n  (journal|booktitle|howpublished) = ", entry), key
        for field in re.findall(r"\n  (\w+) = (?!\{.*\},?\n)", entry):
            raise AssertionError(f"{key}: {field} is not one line in braces")
        doi = re.search(r"doi = \{(.*)\}", entry)
        assert doi is None or re.fullmatch(r"10\.\d{4,}/\S+", doi[1])
    used = {key for cls in OURS for key in cls.cite} | {"pedregosa2011"}
    assert used == set(found)
    assert list(found) == sorted(found)


def test_names_classes_models_and_what_is_inside_them():
    assert keys(citation()) == ["smalti"]
    assert f"version = {{{sm.__version__}}}" in citation()
    assert keys(sm.citation("abmil")) == ["smalti", "ilse2018"]
    assert keys(sm.citation(["mi_net", sm.mil.MINetDS], "umint:fast")) == [
        "smalti", "wang2018", "maitra2023"]  # fmt: skip
    assert keys(citation("majority")) == ["smalti", "pedregosa2011"]
    assert keys(citation("wnn", "totalvi")) == [
        "smalti", "hao2021", "bredikhin2022", "gayoso2021", "gayoso2022"]  # fmt: skip
    team = sm.make("ensemble", members=("pls", {"method": "ridge"}))
    assert keys(citation(team)) == ["smalti", "wolpert1992", "wold2001", "hoerl1970"]
    embedded = sm.mil.ABMIL(preprocess=sm.integrate.Embed("mofa"))
    assert keys(citation(embedded)) == ["smalti", "ilse2018", "argelaguet2020"]
    fitted = BagMean(progress=False).fit(planted_bags(12))
    assert citation(fitted) == citation("bag_mean")


def test_entries_of_others():
    class Own(BagMean):
        bibtex: ClassVar[str] = "@misc{own2025, author={A, B}, title={{X} y}, year=2025}"

    class Clash(BagMean):
        name: ClassVar[str] = "clash"
        bibtex: ClassVar[str] = "@misc{ilse2018, author={A, B}, title={Else}, year={2018}}"

    class Unknown(BagMean):
        cite: ClassVar[tuple[str, ...]] = ("nobody1900",)

    assert keys(citation(Own)) == ["smalti", "own2025"]
    assert keys(citation("abmil", Clash)) == ["smalti", "ilse2018", "ilse2018-clash"]
    with pytest.raises(InputError, match="Unknown.*'nobody1900'.*references.bib"):
        citation(Unknown)


@pytest.mark.parametrize(("text", "reason"), [
    ("@misc{a, author={A}, title={B}, year={2000}", "is not closed"),
    ("@misc{a, author={A}, title={B}}", "'a' has no year"),
    ("@misc{a, author={A}, title={B}, year={1}}" * 2, "twice"),
    ("@misc{a}", "is no BibTeX entry"),
    ("A (2000). B", "is no BibTeX entry"),
    ("@misc a @misc{b, author={A}, title={B}, year={1}}", "is no BibTeX entry"),
])  # fmt: skip
def test_what_is_no_bibtex_is_refused(text, reason):
    with pytest.raises(InputError, match=f"mine: .*{reason}"):
        entries(text, "mine")


def test_what_is_no_method_is_refused():
    with pytest.raises(InputError, match="no method 'nothing'"):
        citation("nothing")
    with pytest.raises(InputError, match="3 is no method"):
        citation([3])
