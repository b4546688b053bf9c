"""``smalti genes activity``: open chromatin over genes, as a table that other verbs read."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import ten_x as x10
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app

pytest.importorskip("bioframe")
pytestmark = pytest.mark.filterwarnings("ignore")


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def fails(*args):
    done = run(*args)
    assert done.exit_code == 2, (done.output, done.exception)
    return " ".join(done.stderr.split())


@pytest.fixture
def both(tmp_path):
    """Cells of RNA and peaks, and genes that lie on the first peaks."""
    place = x10.PEAKS[0].replace(":", "-").split("-")
    row = [place[0], "x", "gene", place[1], place[2], ".", "+", ".", 'gene_name "ON";']
    (tmp_path / "g.gtf").write_text("\t".join(row) + "\n")
    return x10.h5(tmp_path / "a.h5", x10.features("rna", "atac")), tmp_path / "g.gtf"


def test_the_table_is_read_beside_the_peaks(both, tmp_path):
    file, genes = both
    out = tmp_path / "activity.h5ad"
    done = run("genes", "activity", file, "--genes", genes, "--out", out)
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"{x10.N} cells x 1 genes" in " ".join(done.output.split())
    table = anndata.read_h5ad(out)
    expected = sm.genes.gene_activity(sm.read(file), genes)
    np.testing.assert_array_equal(table.X.toarray(), expected.x["gene_activity"].toarray())
    assert table.obs_names.tolist() == x10.barcodes()
    assert table.var_names.tolist() == ["ON"]
    bags = sm.read({"rna": out, "atac": file})
    np.testing.assert_array_equal(sp.csr_matrix(bags.x["rna"]).toarray(), table.X.toarray())
    said = fails("genes", "activity", file, "--genes", genes, "--out", out)
    assert "is there already" in said


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--out", "a.csv"], "--out a.csv: end the name in .h5ad"),
        (["--out", "o.h5ad", "--view", "rna"], "names are no places"),
        (["--out", "o.h5ad", "--upstream", "-1"], "--upstream -1 must be 0 or more"),
        (["--out", "o.h5ad", "--x", "X/Gene Expression"], "are of peaks: name the one with --view"),
    ],
)
def test_what_cannot_be(args, words, both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, genes = both
    assert words in fails("genes", "activity", file, "--genes", genes, *args)
    assert not (tmp_path / "o.h5ad").exists()


def test_a_package_that_is_not_there_is_said_first(both, tmp_path, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    others = lambda name, *a: None if name == "bioframe" else there(name, *a)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", others)
    asked = ["--genes", both[1], "--out", tmp_path / "o.h5ad"]
    said = fails("genes", "activity", both[0], *asked)
    assert 'bioframe is not installed: pip install "smalti[integrate]"' in said
