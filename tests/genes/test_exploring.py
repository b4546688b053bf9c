"""A look at genes: planted groups are found, and what is said of a gene is so."""

import dataclasses
import io

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.errors import InputError


@pytest.fixture(scope="module")
def slides():
    bags, rng = sm.datasets.planted_slides(4, 49, n_genes=40, seed=0), np.random.default_rng(0)
    field = rng.normal(0, 0.8, (bags.n_instances, 4))  # four groups of ten
    counts = rng.poisson(20 * np.exp(np.repeat(field, 10, axis=1)))
    return dataclasses.replace(bags, x={"counts": sp.csr_matrix(counts)})


@pytest.fixture(scope="module")
def found(slides):
    return sm.genes.explore(slides, units="log1p", ks=(2, 4, 9), seeds=3)


def test_four_programmes_are_four_groups(found):
    assert found.k == 4
    place = found.genes.groupby(np.arange(40) // 10)["group"]
    assert place.nunique().tolist() == [1, 1, 1, 1]
    row = found.choice.set_index("k").loc[4]
    assert row["seeds"] > 0.75
    assert row["silhouette"] == found.choice["silhouette"].max()


def test_what_is_said_of_a_gene_is_so(slides, found):
    y = sm.genes.units.measured(slides, units="log1p")
    place = {g: i for i, g in enumerate(slides.features["counts"])}
    for row in found.genes.iloc[[0, 17]].itertuples():
        own = y[:, place[row.gene]]
        assert row.mean == pytest.approx(own.mean(), rel=1e-4)
        assert row.sd == pytest.approx(own.std(), rel=1e-3)
        assert row.detected == pytest.approx((own > 0).mean())
    a, b = (y[:, place[g]] for g in found.genes["gene"][:2])
    assert found.correlations[0, 1] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)


def test_the_pictures(found):
    figure = sm.plot.plot_genes(found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "4 groups" in titles
    assert "40 genes: scale" in titles
    one = sm.plot.plot_genes(found, ["distribution"]).axes[0]
    dots = one.collections[0].get_offsets()
    np.testing.assert_allclose(dots, found.genes[["detected", "skew"]])
    with pytest.raises(InputError, match="choose of scale"):
        sm.plot.plot_genes(found, ["no"])


def test_nasty_names_are_drawn_as_they_are(found):
    names = ["a$b_{2}$", "one\ntwo", "_x", "ENSG00000141510_" + "x" * 60] * 10
    bad = dataclasses.replace(found, genes=found.genes.assign(gene=names))
    axes = sm.plot.plot_genes(bad, ["points"]).axes[0]
    texts = [t for t in axes.texts if t.get_text()]
    assert len(texts) == 4
    assert all(len(t.get_text()) < 25 and "\n" not in t.get_text() for t in texts)
    assert not any(t.get_parse_math() for t in texts)
    sm.plot.plot_genes(bad, ["points"]).savefig(io.BytesIO())


def test_noise_has_no_groups_that_seeds_agree_on(slides):
    rng = np.random.default_rng(0)
    noise = rng.poisson(5, (slides.n_instances, 60))
    bags = dataclasses.replace(slides, x={"counts": noise}, features={})
    table = sm.genes.explore(bags, units="log1p", ks=(4, 6), seeds=3).choice
    assert table["halves"].max() < 0.2
    assert table["silhouette"].max() < 0.1


@pytest.mark.parametrize(("more", "says"), [
    ({"seeds": 1}, "two seeds"), ({"ks": (1, 2)}, "from 2"), ({"genes": 3}, "too few"),
])  # fmt: skip
def test_what_cannot_be_explored(slides, more, says):
    with pytest.raises(InputError, match=says):
        sm.genes.explore(slides, **more)


@pytest.mark.slow
def test_on_the_command_line(slides, tmp_path):
    obs = slides.instance.assign(slide=np.asarray(slides.bag.index)[slides.index])
    table = ad.AnnData(slides.x["counts"], obs=obs,
                       var=pd.DataFrame(index=list(slides.features["counts"])))  # fmt: skip
    table.write_h5ad(tmp_path / "spots.h5ad")
    words = ["genes", "explore", tmp_path / "spots.h5ad", "--slide", "slide", "--ks", "2,4",
             "--seeds", "2", "--out", tmp_path / "out"]  # fmt: skip
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    assert "groups of 40 genes" in done.stdout
    assert len(pd.read_csv(tmp_path / "out" / "genes.csv")) == 40
    assert "groups part these 40 genes" in (tmp_path / "out" / "report.html").read_text("utf-8")
