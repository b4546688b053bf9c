"""How two lists of names fail to agree."""

import pytest

from smalti.names import mismatch, namesakes, without_version

IDS = ["ENSG00000141510", "ENSG00000012048", "ENSG00000139618"]
SYMBOLS = ["TP53", "BRCA1", "BRCA2"]


@pytest.mark.parametrize(
    ("wanted", "there", "said"),
    [
        (IDS, SYMBOLS, ("kind", "Ensembl ids", "symbols")),
        (SYMBOLS, IDS, ("kind", "symbols", "Ensembl ids")),
        ([f"{i}.12" for i in IDS], IDS, ("version", "ENSG00000141510.12", "ENSG00000141510")),
        ([f"{i}.1" for i in IDS], [f"{i}.2" for i in IDS],
         ("version", "ENSG00000141510.1", "ENSG00000141510.2")),
        (["Tp53", "Brca1"], SYMBOLS, ("case", "Tp53", "TP53")),
        (["GAPDH"], SYMBOLS, None),
        ([], SYMBOLS, None),
        (SYMBOLS, [], None),
    ],
)  # fmt: skip
def test_why_names_do_not_agree(wanted, there, said):
    assert mismatch(wanted, there) == said


def test_a_few_names_in_other_letters_explain_nothing():
    wanted = ["Tp53", *(f"g{i}" for i in range(20))]
    assert mismatch(wanted, SYMBOLS) is None
    assert mismatch(wanted, SYMBOLS, least=0.04).by == "case"


def test_versions_and_namesakes():
    assert without_version("ENSMUSG00000059552.14") == "ENSMUSG00000059552"
    assert without_version("AL357054.4") == "AL357054.4"  # of a clone: its own name
    assert namesakes(["a", "b", "a", "c", "b", "a"]) == ["a", "b"]
    assert namesakes(["a", "b"]) == []
