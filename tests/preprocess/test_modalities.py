"""What a view is taken for, and the line that says so."""

import re

import numpy as np
import pytest

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import guess_steps, kind_of, modalities

RNA, CLR, PEAKS = "normalize,log1p,genes=2000", "clr", "tfidf"


def counts(width=4):
    return np.random.default_rng(0).poisson(30, (40, width)).astype(np.float32)


def one(name, x, **kinds):
    return modalities(Bags.from_rows({name: x}, np.arange(40), kinds=kinds))[0]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["rna", "RNA", "scRNA", "GEX", "cite_rna", "Gene Expression", "transcripts"], "rna"),
        (["protein", "prot", "ADT", "antibody", "surface", "CITE", "cite-seq", "cell_surface",
          "Antibody Capture"], "protein"),
        (["atac", "scATAC", "peaks", "Peaks", "chromatin", "accessibility"], "atac"),
        (["hto", "HTO", "hashtags", "Multiplexing Capture", "CRISPR Guide Capture", "sgRNA"],
         "tags"),
        (["cytof"], "cytometry"),
        # a short word in the middle of another tells nothing
        (["photo", "excited", "misguided", "blob", "X", "X_pca", "methylation"], None),
    ],
)  # fmt: skip
def test_names_tell_kinds(names, kind):
    assert {name: kind_of(name) for name in names} == dict.fromkeys(names, kind)


@pytest.mark.parametrize(
    ("name", "steps", "line"),
    [
        ("rna", RNA, "taken for RNA, by its name; "),
        ("surface", CLR, "taken for protein, by its name; clr"),
        ("chromatin", PEAKS, "taken for open chromatin, by its name; tfidf"),
        ("hto", CLR, "taken for tags .*, by its name, which tell samples or guides apart .*; clr"),
        ("blob", RNA, "taken for RNA, for its name says nothing: kinds={'blob': 'protein'} tells"),
    ],
)
def test_counts_get_the_steps_of_their_kind(name, steps, line):
    found = one(name, counts())
    assert found.steps == steps
    assert guess_steps(Bags.from_rows({name: counts()}, np.arange(40))) == {name: steps}
    assert re.search(line, str(found))
    assert found.doubtful == (name in ("hto", "blob"))


def test_peaks_that_are_many_more_than_components_get_lsi():
    assert [one("atac", counts(n)).steps for n in (999, 1000)] == ["tfidf", "lsi=50"]


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("protein", CLR), ("atac", PEAKS), ("rna", RNA), ("cytometry", "arcsinh"), ("other", "")],
)
def test_kinds_win_over_names(kind, steps):
    for name in ("surface", "blob"):
        found = one(name, counts(), **{name: kind})
        assert (found.kind, found.by, found.steps) == (kind, "kinds", steps)
        assert "as kinds= says; " in str(found)
        assert not found.doubtful


def test_cytometry_takes_negative_values():
    assert one("blob", -counts(), blob="cytometry").steps == "arcsinh"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda x: x * 0.93, "they look like normalised counts, or like corrected counts"),
        (np.log1p, "they look like logs, or like corrected counts"),
        (lambda x: x - 40, "there are negative values"),
    ],
)
def test_steps_that_are_left_out_are_said_with_the_reason(change, why):
    found = one("rna", change(counts()))
    assert found.steps == ""
    assert found.doubtful
    assert f"taken as it stands, without {RNA}, as " in str(found)
    assert why in str(found)
    unknown = one("X_pca", change(counts()))
    assert unknown.doubtful == ("negative" not in why)  # an embedding needs no steps


def test_kinds_that_are_not_known():
    with pytest.raises(InputError, match="'blob' is 'dna', which is none of tags, rna, protein"):
        one("blob", counts(), blob="dna")
