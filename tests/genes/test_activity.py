"""Counts of peaks over genes, against loops."""

import gzip

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.genes import gene_activity
from smalti.preprocess import modalities

pytest.importorskip("bioframe")

GTF = """#!genome
chr1\tx\tgene\t1001\t3000\t.\t+\t.\tgene_id "E1"; gene_name "PLUS"; gene_type "protein_coding";
chr1\tx\texon\t1001\t1100\t.\t+\t.\tgene_id "E1"; gene_name "PLUS";
chr1\tx\tgene\t9001\t9500\t.\t-\t.\tgene_id "E2"; gene_name "MINUS"; gene_type "protein_coding";
chr1\tx\tgene\t1001\t3000\t.\t+\t.\tgene_id "E3"; gene_name "LNC"; gene_type "lncRNA";
chr2\tx\tgene\t1\t900000\t.\t+\t.\tgene_id "E4"; gene_name "LONG"; gene_type "protein_coding";
chr2\tx\tgene\t11\t90\t.\t+\t.\tgene_id "E5"; gene_type "protein_coding";
"""
BED = "chr1\t1000\t3000\tPLUS\t0\t+\nchr1\t9000\t9500\tMINUS\t0\t-\nchr2\t10\t90\tE5\t0\t+\n"
# before PLUS, 2 kb upstream of it; right before; in; behind; right before MINUS; 2 kb upstream of
# it, whose start is its end; beyond; E5
PLACES = [(1, 0, 1), (1, 999, 1000), (1, 2999, 3100), (1, 3000, 3100), (1, 8900, 9000),
          (1, 11400, 11600), (1, 11500, 11600), (2, 89, 95)]  # fmt: skip
ON = {"PLUS": [0, 1, 2], "MINUS": [5], "E5": [7]}


def cells(mark="chr{}:{}-{}", kind=sp.csr_matrix, **kwargs):
    x = np.random.default_rng(0).poisson(2, (20, 8)).astype(np.float32)
    names = [mark.format(*p) for p in PLACES]
    return Bags.from_rows({"atac": kind(x)}, np.arange(20), features={"atac": names}, **kwargs), x


@pytest.mark.parametrize("mark", ["chr{}:{}-{}", "chr{}-{}-{}", "chr{}_{}_{}"])
@pytest.mark.parametrize("file", ["genes.gtf", "genes.gtf.gz", "genes.bed"])
def test_peaks_of_the_body_and_upstream_by_strand(tmp_path, mark, file):
    text = (BED if file.endswith("bed") else GTF).encode()
    (tmp_path / file).write_bytes(gzip.compress(text) if file.endswith("gz") else text)
    bags, x = cells(mark)
    out = gene_activity(bags, tmp_path / file)
    assert out.features["gene_activity"] == ("PLUS", "MINUS", "E5")
    expected = np.stack([x[:, at].sum(1) for at in ON.values()], axis=1)
    np.testing.assert_array_equal(out.x["gene_activity"].toarray(), expected)
    assert modalities(out)[-1].kind == "rna"
    assert out.x["atac"] is bags.x["atac"]


def test_choices(tmp_path):
    (tmp_path / "a.gtf").write_text(GTF)
    bags, x = cells(kind=np.asarray, present={"atac": np.arange(20) > 3})
    out = gene_activity(bags, tmp_path / "a.gtf", name="ga", biotype="lncRNA", upstream=0)
    np.testing.assert_array_equal(out.x["ga"].toarray()[:, 0][4:], x[4:, 2])
    np.testing.assert_array_equal(out.present["ga"], out.present["atac"])
    every = gene_activity(bags, tmp_path / "a.gtf", biotype=None, max_width=None)
    assert every.features["gene_activity"] == ("PLUS", "MINUS", "LNC", "LONG", "E5")
    # genes of one name are one, and a peak on both of them counts once
    twice = pd.DataFrame({"chrom": "chr1", "start": [1000, 1500], "end": 3000, "name": "A",
                          "strand": "."})  # fmt: skip
    found = gene_activity(bags, twice, upstream=100).x["gene_activity"].toarray()
    np.testing.assert_array_equal(found[4:, 0], x[4:, 1:4].sum(1))  # no strand: both sides


def test_sums_of_small_whole_numbers(tmp_path):
    (tmp_path / "a.gtf").write_text(GTF)
    bags, _ = cells(kind=lambda x: np.full(x.shape, 100, np.int8))
    assert gene_activity(bags, tmp_path / "a.gtf").x["gene_activity"].max() == 300


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"view": "rna"}, "rna"),
        ({"genes": GTF.replace("chr", "")}, r"no name of a chromosome in common: .*chr1, .* on 1"),
        ({"genes": GTF.replace("\tgene\t", "\texon\t")}, "no rows of feature 'gene'"),
        ({"biotype": "x"}, "no gene of biotype 'x'; there are lncRNA, protein_coding"),
        ({"name": "atac"}, "there is a view 'atac' already"),
        ({"upstream": -1}, "upstream=-1"),
        ({"genes": pd.DataFrame({"chrom": []})}, "no column 'start'"),
        ({"genes": "genes.txt"}, "of .gtf and .bed"),
    ],
)
def test_what_cannot_be(tmp_path, change, match):
    text = change.pop("genes", GTF)
    path = tmp_path / "a.gtf"
    if isinstance(text, str) and "\t" in text:
        path.write_text(text)
        text = path
    with pytest.raises(InputError, match=match):
        gene_activity(cells()[0], text, **change)


def test_names_that_are_no_places():
    with pytest.raises(InputError, match=r"8 of 8 names are no places \(first: 'peak1_0'\)"):
        gene_activity(cells("peak{}_{}")[0], pd.DataFrame())
    bags = Bags.from_rows({"rna": np.ones((3, 2))}, np.arange(3))
    with pytest.raises(InputError, match="none of the views 'rna' are of peaks"):
        gene_activity(bags, pd.DataFrame())
