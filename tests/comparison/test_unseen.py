"""Genes that are hidden from training: which, from whom, and what is said of it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.expression import compare_expression
from smalti.comparison.hiding import Hiding, controls
from smalti.comparison.splits import expression_folds
from smalti.comparison.unseen import unseen_genes
from smalti.datasets.programmes import planted_programmes
from smalti.errors import InputError
from smalti.expression.bilinear import Bilinear
from smalti.expression.ridge import Ridge
from smalti.genes import gene_text, gene_vectors
from smalti.genes.units import measured
from smalti.genes.vectors import GeneVectors

FIXED = {"alpha": 10.0, "beta": 1.0, "level": 1.0}


@pytest.fixture(scope="module")
def planted():
    return planted_programmes(4, 25, n_genes=30, donors=2)


def other_counts(bags, rows, seed=0):
    """The same slides, with other counts in some tiles."""
    counts = bags.table("counts").copy()
    counts[rows] = np.random.default_rng(seed).poisson(50, size=counts[rows].shape)
    return dataclasses.replace(bags, x={**bags.x, "counts": counts})


def vectors_of(names, x, **more):
    return GeneVectors(tuple(names), np.asarray(x, np.float32), "made up", **more)


# ---------------------------------------------------------------- protocols


def test_highest_are_those_of_highest_mean(planted):
    bags, _ = planted
    names = bags.features["counts"][::-1]
    found = unseen_genes(bags, names, "highest", 7)
    counts = bags.table("counts").astype(np.float64)
    mean = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4).mean(0)
    wanted = set(np.asarray(bags.features["counts"])[np.argsort(-mean)[:7]])
    assert set(found) == wanted
    assert list(found) == [g for g in names if g in wanted]  # in the order of the names
    raw = unseen_genes(bags, names, "highest", 7, units="log1p")
    assert set(raw) == set(np.asarray(bags.features["counts"])[
        np.argsort(-np.log1p(counts).mean(0))[:7]])  # fmt: skip


@pytest.mark.parametrize("protocol", ["highest", "random", "blocks"])
def test_the_choice_does_not_know_the_test_slides(planted, protocol):
    bags, vectors = planted
    parts = expression_folds(bags, by="donor")
    test = parts[0][1]
    sets = {"one": bags.features["counts"][:11], "two": bags.features["counts"][15:]}
    found = []
    for given in (bags, other_counts(bags, test)):
        hiding = Hiding(protocol, 8, vectors, sets, None)
        found.append(hiding.of(given, parts, {"bilinear": Bilinear(vectors=vectors)}))
    assert found[0][0] == found[1][0]
    if protocol == "highest":  # but the fold that trains on them does
        assert found[0][1] != found[1][1]


def test_the_number_of_variable_genes_is_taken_in_training_too(planted):
    bags, vectors = planted
    train, test = expression_folds(bags, by="donor")[0]
    wild = bags.table("counts").copy()
    wild[test, 0] = np.arange(len(test)) * 500
    other = dataclasses.replace(bags, x={**bags.x, "counts": wild})
    folds = [Hiding("random", 4, vectors, None, 12).fold(b.keep(train)) for b in (bags, other)]
    assert folds[0] == folds[1]
    assert len(folds[0].seen) + len(folds[0].unseen) == 12


def test_random_genes_are_reproducible_and_spread(planted):
    bags, _ = planted
    names = bags.features["counts"]
    one, again = (unseen_genes(bags, names, "random", 6, seed=3) for _ in range(2))
    assert one == again
    drawn = [unseen_genes(bags, names, "random", 6, seed=s) for s in range(60)]
    assert len(set(drawn)) > 50
    hits = pd.Series([g for d in drawn for g in d]).value_counts()
    assert len(hits) == 30
    assert hits.max() < 30  # 12 are to be expected of each
    assert all(len(d) == 6 for d in drawn)


def test_blocks_hide_whole_sets(planted):
    bags, _ = planted
    names = bags.features["counts"]
    sets = {"a": names[:10], "b": names[10:21], "c": (*names[18:], "ELSE1"), "small": names[:3]}
    seen_first = set()
    for seed in range(12):
        hidden = set(unseen_genes(bags, names, "blocks", 10, sets=sets, seed=seed))
        whole = [k for k in ("a", "b", "c") if set(sets[k]) & set(names) <= hidden]
        assert hidden == set().union(*(set(sets[k]) & set(names) for k in whole))
        assert len(hidden) >= 10
        seen_first.update(whole)
    assert seen_first == {"a", "b", "c"}
    more = set(unseen_genes(bags, names, "blocks", 15, sets={"a": sets["a"], "b": sets["b"]}))
    assert more == set(names[:21])  # one set is not enough


def test_names_are_hidden_as_they_are(planted):
    bags, _ = planted
    names = bags.features["counts"]
    assert unseen_genes(bags, names, ("G9", "G2", "G9")) == ("G2", "G9")


@pytest.mark.parametrize(
    ("protocol", "n", "word"),
    [("lowest", 5, "unseen='lowest' is not one of highest, random, blocks"),
     ("highest", 29, "n_unseen=29: 30 genes leave too few"), ("random", 0, "n_unseen=0"),
     ("blocks", 5, "give sets="), (("G1", "NOPE1"), 5, "1 of 2 unseen genes.*NOPE1"),
     ([f"G{i}" for i in range(29)], 5, "29 of 30 genes hidden"), ((), 5, "0 of 30")],
    ids=str,
)  # fmt: skip
def test_choices_that_cannot_be(planted, protocol, n, word):
    bags, _ = planted
    with pytest.raises(InputError, match=word):
        unseen_genes(bags, bags.features["counts"], protocol, n)


def test_sets_that_do_not_fit(planted):
    bags, _ = planted
    names = bags.features["counts"]
    with pytest.raises(InputError, match="no gene set has 10 to 60"):
        unseen_genes(bags, names, "blocks", 5, sets={"few": names[:9]})
    with pytest.raises(InputError, match="too few are left"):
        unseen_genes(bags, names, "blocks", 5, sets={"most": names[:29]})


# ---------------------------------------------------------------- leaks


def test_a_candidate_with_unseen_genes_of_its_own_is_refused(planted):
    bags, vectors = planted
    own = Bilinear(vectors=vectors, genes=("G1", "G2", "G5"), **FIXED)
    with pytest.raises(InputError, match=r"leak: mine .* 2 of the unseen genes \(G1, G5\).*genes="):
        compare_expression({"mine": own}, bags, unseen=("G5", "G1", "G7"), vectors=vectors)


@pytest.mark.parametrize("second", ["OLDNAME", "ENSG00000000003", "ENSG00000000003.14"])
def test_another_name_of_a_hidden_gene_is_not_seen(planted, second):
    """The counts have a gene twice, under two names; the vectors know that they are one."""
    bags, vectors = planted
    names = (*bags.features["counts"][:-1], second)
    twice = dataclasses.replace(bags, features={**bags.features, "counts": names})
    alias = second.partition(".")[0]
    known = dataclasses.replace(vectors.take(names[:-1]), aliases={alias: "G4"})
    hiding = Hiding(("G4", "G6"), 0, known, None, None)
    fold = hiding.fold(twice)
    assert second not in fold.seen
    assert fold.unseen == ("G4", "G6")
    assert len(fold.seen) == 30 - 3
    note = next(n for n in hiding.notes if "leak" in n)
    assert second in note
    assert "taken out of training" in note
    # the other way round: the other name is hidden
    assert "G4" not in Hiding((second, "G6"), 0, known, None, None).fold(twice).seen


def test_a_gene_with_the_vector_of_a_hidden_one_is_not_seen(planted):
    bags, vectors = planted
    x = vectors.x.copy()
    x[3] = x[20]
    x[[8, 9]] = 0  # vectors of 0 say nothing, so no leak
    same = dataclasses.replace(vectors, x=x, tokens=None, offsets=None)
    hiding = Hiding(("G20", "G8"), 0, same, None, None)
    fold = hiding.fold(bags)
    assert set(bags.features["counts"]) - set(fold.seen) == {"G20", "G8", "G3"}
    assert [n for n in hiding.notes if "leak: 1 seen genes" in n and "(G3)" in n]
    assert not any("leak" in n for n in _notes(bags, vectors, ("G20", "G8")))


def _notes(bags, vectors, names):
    hiding = Hiding(names, 0, vectors, None, None)
    hiding.fold(bags)
    return hiding.notes


def test_genes_without_a_vector_are_left_out_with_a_note(planted):
    bags, vectors = planted
    part = vectors.take(vectors.names[3:])
    hiding = Hiding("random", 5, part, None, None)
    fold = hiding.fold(bags)
    assert not {"G0", "G1", "G2"} & {*fold.seen, *fold.unseen}
    assert len(fold.seen) == 22
    assert any("3 genes have no vector" in n and "G0" in n for n in hiding.notes)
    with pytest.raises(InputError, match="cannot be hidden.*no vector: G1"):
        Hiding(("G1", "G5"), 0, part, None, None).fold(bags)
    with pytest.raises(InputError, match="28 of 28 genes have no vector.*G0, G3"):
        Hiding("random", 5, vectors.take(("G1", "G2")), None, None).fold(bags)


def test_the_published_protocol_is_called_easy(planted):
    bags, vectors = planted
    hiding = Hiding("highest", 5, vectors, None, None)
    hiding.fold(bags)
    assert any("highest mean: the easiest" in n for n in hiding.notes)


# ---------------------------------------------------------------- the comparison

HIDDEN = ("G2", "G7", "G11", "G12", "G25")


@pytest.fixture(scope="module")
def result(planted):
    bags, vectors = planted
    return compare_expression(
        {"mine": Bilinear(**FIXED), "ridge": Ridge(alpha=10.0)}, bags, unseen=HIDDEN,
        vectors=vectors, seeds=1, view="X_planted", progress=False,
    )  # fmt: skip


def test_controls_are_always_there(result):
    names = set(result.folds["method"])
    assert names == {
        "mine", "ridge, trained on them (oracle)", "ridge, trained on them (oracle) (default)",
        "bilinear", "bilinear, random vectors",
        "nearest_gene", "all seen genes", "total_count (oracle)", "gene_mean, trained on them "
        "(oracle)", "neighbour_mean, trained on them (oracle)",
    }  # fmt: skip
    assert set(controls("file")) <= names
    assert result.settings["bilinear, random vectors"]["vectors"] == "random"
    assert result.settings["all seen genes"]["k"] is None
    # supervised rows race nobody: no star
    rows = [line for line in str(result).splitlines() if "(oracle)" in line]
    assert len(rows) == 5
    assert not any("*" in line for line in rows)


def test_scores_are_of_the_hidden_genes_and_of_a_fit_without_them(planted, result):
    bags, vectors = planted
    assert set(result.genes["gene"]) == set(HIDDEN)
    assert result.gene_names == HIDDEN
    train, test = (bags.keep(r) for r in expression_folds(bags, by="donor")[1])
    seen = tuple(g for g in vectors.names if g not in HIDDEN)
    model = Bilinear(vectors=vectors, genes=seen, x="X_planted", progress=False, **FIXED)
    out, true = model.fit(train).predict(test, HIDDEN), measured(test, genes=HIDDEN)
    own = result.folds.query("method == 'mine' and fold == 1").set_index("metric")["value"]
    r = [np.mean([np.corrcoef(out[s, g], true[s, g])[0, 1] for s in
                  (test.index == 0, test.index == 1)]) for g in range(5)]  # fmt: skip
    assert own["pcc_slide"] == pytest.approx(np.mean(r), abs=1e-4)
    assert own["mse"] == pytest.approx(((out - true) ** 2).mean(), rel=1e-4)
    plain = Ridge(alpha=10.0, genes=HIDDEN, x="X_planted", progress=False).fit(train)
    row = result.folds.query(
        "method == 'ridge, trained on them (oracle)' and fold == 1 and metric == 'mse'"
    )
    wanted = ((plain.predict(test) - true) ** 2).mean()
    assert row["value"].item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_no_fit_of_a_zero_shot_method_sees_a_hidden_gene(planted, monkeypatch):
    bags, vectors = planted
    fits = []
    plain = sm.ExpressionMethod.fit

    def spy(self, X, y=None, **more):
        out = plain(self, X, y, **more)
        fits.append((self.name, self.zero_shot, set(self.genes_)))
        return out

    monkeypatch.setattr(sm.ExpressionMethod, "fit", spy)
    compare_expression(
        [Bilinear(**FIXED), "knn"], bags, unseen=HIDDEN, vectors=vectors, seeds=1,
        view="X_planted", progress=False,
    )  # fmt: skip
    zero = [genes for _, shot, genes in fits if shot]
    assert len(zero) == 2 * 6  # folds x (mine, bilinear, random, two of nearest, total)
    for genes in zero:
        assert not genes & set(HIDDEN)
        assert len(genes) == 25
    assert all(genes == set(HIDDEN) for _, shot, genes in fits if not shot)
    assert {n for n, shot, _ in fits if not shot} >= {"knn", "ridge", "gene_mean"}


@pytest.mark.slow
def test_a_candidate_does_not_displace_a_control_of_its_name(planted):
    bags, vectors = planted
    bad = Bilinear(vectors=vectors, alpha=1e9, beta=1e9, level=1e9)
    out = compare_expression([bad, "nearest_gene"], bags, unseen=HIDDEN, vectors=vectors, seeds=1,
                             view="X_planted", progress=False)  # fmt: skip
    assert out.settings["bilinear"]["alpha"] == 1e9
    assert out.settings["bilinear (default)"]["alpha"] is None
    assert "nearest_gene (default)" not in out.settings  # it is the control


@pytest.mark.slow
def test_hidden_genes_of_each_fold_are_kept(planted, tmp_path):
    bags, vectors = planted
    out = compare_expression([Bilinear(**FIXED)], bags, unseen="highest", n_unseen=6, seeds=1,
                             vectors=vectors, view="X_planted", progress=False)  # fmt: skip
    out.write(tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "unseen.csv")
    for k, (train, _) in enumerate(expression_folds(bags, by="donor")):
        wanted = unseen_genes(bags.keep(train), vectors.names, "highest", 6)
        assert tuple(table.loc[table["fold"] == k, "gene"]) == wanted
        assert set(out.genes.loc[out.genes["fold"] == k, "gene"]) == set(wanted)
    assert any("easiest to predict" in n for n in out.notes)


@pytest.mark.slow
def test_it_writes_a_report_that_says_what_was_hidden(result, tmp_path):
    result.write(tmp_path / "run")
    result.report(tmp_path / "run" / "report.html")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "genes hidden from training, and scored" in page
    assert "trained on them (oracle)" in page
    assert "bilinear, random vectors" in page
    assert result.facts()["genes hidden from training, and scored"] == "5 to 5"


def test_a_comparison_without_hidden_genes_has_no_table_of_them(planted, tmp_path):
    bags, _ = planted
    out = compare_expression(["knn"], bags, seeds=1, genes=3, view="X_planted", progress=False)
    out.write(tmp_path / "run")
    assert not (tmp_path / "run" / "unseen.csv").exists()
    assert not any("oracle" in m for m in out.folds["method"] if m.startswith("ridge"))


def _no_time(out):
    return out.folds.drop(columns="seconds")


@pytest.mark.slow  # four comparisons; that a cache is read is in test_expression
def test_a_cache_gives_the_same_table_and_knows_its_vectors(planted, tmp_path, monkeypatch):
    bags, vectors = planted
    file = tmp_path / "v.safetensors"
    vectors.save(file)
    fitted = []
    plain = Bilinear.fit
    monkeypatch.setattr(Bilinear, "fit", lambda self, *a, **k: (
        fitted.append(str(self.vectors)) or plain(self, *a, **k)))  # fmt: skip

    def run(given, hidden=HIDDEN):
        fitted.clear()
        return compare_expression(
            {"mine": Bilinear(**FIXED)}, bags, unseen=hidden, vectors=given, seeds=1,
            view="X_planted", cache=tmp_path / "cache", progress=False,
        )  # fmt: skip

    first = run(file)
    assert len(fitted) == 6
    again = run(file)
    assert not fitted
    pd.testing.assert_frame_equal(_no_time(first), _no_time(again))
    pd.testing.assert_frame_equal(first.genes, again.genes)
    run(file, HIDDEN[:-1])  # others are hidden
    assert len(fitted) == 6
    # the file is written anew, with other vectors
    other = dataclasses.replace(vectors, x=vectors.x[::-1].copy(), tokens=None, offsets=None)
    other.save(file, overwrite=True)
    changed = run(file)
    assert len(fitted) == 4  # random ones are as they were
    assert "random" not in fitted
    one, two = (r.folds.query("method == 'mine' and metric == 'mse'")["value"].to_numpy()
                for r in (first, changed))  # fmt: skip
    assert np.abs(one - two).min() > 1e-4
    kept = "method == 'bilinear, random vectors'"
    pd.testing.assert_frame_equal(_no_time(first).query(kept), _no_time(changed).query(kept))
    run(other)  # the same vectors, as an object
    assert not fitted


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"unseen": "random", "n_unseen": 3}, "unseen= needs vectors of .* vectors=..."),
     ({"unseen": "random", "n_unseen": 3, "vectors": "random"},
      "unseen= needs vectors of .* vectors=..."),
     ({"unseen": "random", "n_unseen": 99, "vectors": True}, "n_unseen=99"),
     ({"unseen": "random", "vectors": True}, "n_unseen=250: 30 genes"),
     ({"unseen": "top", "n_unseen": 3, "vectors": True}, "unseen='top' is not one of"),
     ({"unseen": "blocks", "n_unseen": 3, "vectors": True}, "give sets="),
     ({"unseen": ("G3", "GAPDH"), "vectors": True}, "GAPDH"),
     ({"unseen": "random", "vectors": "nope.csv"}, r"nope\.csv"),
     ({"unseen": "random", "vectors": "v.pkl"}, r"v\.pkl: \.pkl may run code")],
    ids=str,
)  # fmt: skip
def test_comparisons_that_cannot_be(planted, settings, word):
    bags, vectors = planted
    if settings.get("vectors") is True:
        settings = settings | {"vectors": vectors}
    with pytest.raises(InputError, match=word):
        compare_expression([Bilinear(**FIXED)], bags, progress=False, **settings)


# ---------------------------------------------------------------- bad input to methods


def test_no_vectors_at_all(planted):
    bags, _ = planted
    for name in ("bilinear", "nearest_gene", "sgn", "deep_association", "gene_ensemble"):
        with pytest.raises(InputError, match=f"{name} predicts genes by vectors.*give vectors="):
            sm.make(name, x="X_planted", progress=False).fit(bags)


def test_vectors_of_another_species(planted):
    bags, _ = planted
    names = [f"GENE{i}A" for i in range(30)]
    human = vectors_of(names, np.random.default_rng(0).normal(size=(30, 4)))
    mouse = [n.capitalize() for n in names]
    other = dataclasses.replace(bags, features={**bags.features, "counts": mouse})
    with pytest.raises(InputError, match=r"30 of 30 genes.*'Gene0a', 'GENE0A'.*species"):
        Bilinear(vectors=human, **FIXED).fit(other)
    ensembl = [f"ENSG{i:011d}" for i in range(30)]
    other = dataclasses.replace(bags, features={**bags.features, "counts": ensembl})
    with pytest.raises(InputError, match="Ensembl ids, and the text has symbols only"):
        Bilinear(vectors=human, **FIXED).fit(other)


def test_few_genes_without_vectors_warn_and_named_ones_are_an_error(planted):
    bags, vectors = planted
    part = vectors.take(vectors.names[2:])
    with pytest.warns(UserWarning, match="2 of 30 genes have no vector.*G0, G1"):
        model = Bilinear(vectors=part, x="X_planted", progress=False, **FIXED).fit(bags)
    assert model.genes_ == vectors.names[2:]
    with pytest.raises(InputError, match=r"1 of 3 genes have no vector \(planted\): G1; leave"):
        Bilinear(vectors=part, genes=("G1", "G4", "G5"), **FIXED).fit(bags)
    with pytest.raises(InputError, match=r"1 of 2 genes have no vector \(planted\): G0"):
        model.predict(bags, ("G5", "G0"))
    with pytest.raises(InputError, match="'G5' is there twice"):
        model.predict(bags, ("G5", "G5"))
    with pytest.raises(InputError, match="names no gene"):
        model.predict(bags, ())


@pytest.mark.parametrize(
    ("change", "word"),
    [(lambda v: dataclasses.replace(v, names=("G1", *v.names[1:])), "'G1' is there twice"),
     (lambda v: dataclasses.replace(v, names=v.names[1:]), r"29 names for an array of shape \(30"),
     (lambda v: dataclasses.replace(v, x=np.where(np.arange(30)[:, None] == 4, np.nan, v.x)),
      "1 genes have values that are not finite, 'G4' first"),
     (lambda v: dataclasses.replace(v, offsets=v.offsets[:-1]), "offsets must part the words")],
)  # fmt: skip
def test_vectors_that_are_none(planted, change, word):
    with pytest.raises(InputError, match=word):
        change(planted[1])


@pytest.mark.parametrize("name", ["v.pkl", "v.pt", "v.npy"])
def test_pickles_of_vectors_are_not_opened(planted, tmp_path, name):
    bags, _ = planted
    (tmp_path / name).write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InputError, match=f"{name}.*never read.*safetensors"):
        Bilinear(vectors=tmp_path / name, **FIXED).fit(bags)


def test_a_gene_twice_in_a_file_of_vectors(planted, tmp_path):
    bags, _ = planted
    (tmp_path / "v.csv").write_text("gene,a,b\nG0,1,2\nG1,3,4\nG0,5,6\n")
    with pytest.raises(InputError, match=r"v\.csv.*'G0' is there twice"):
        Bilinear(vectors=tmp_path / "v.csv", **FIXED).fit(bags)


def test_a_saved_model_keeps_its_own_vectors(planted, tmp_path):
    """What a later file says does not matter, of whatever width; the model knows its genes."""
    bags, vectors = planted
    vectors.save(tmp_path / "v.safetensors")
    model = Bilinear(vectors=str(tmp_path / "v.safetensors"), genes=vectors.names[:20],
                     x="X_planted", progress=False, **FIXED).fit(bags)  # fmt: skip
    model.save(tmp_path / "m")
    (tmp_path / "v.safetensors").unlink()
    back = sm.load(tmp_path / "m")
    np.testing.assert_array_equal(back.predict(bags, ("G25", "G3")),
                                  model.predict(bags, ("G25", "G3")))  # fmt: skip
    with pytest.raises(InputError, match="NOPE1"):
        back.predict(bags, ("G25", "NOPE1"))


@pytest.mark.parametrize("name", ["bilinear", "nearest_gene", "deep_association"])
def test_vectors_of_another_width_are_refused_with_both_widths(planted, name):
    bags, vectors = planted
    own = FIXED if name == "bilinear" else {"alpha": 1.0} if name == "nearest_gene" else {
        "epochs": 1, "width": 8, "rounds": 0}  # fmt: skip
    model = sm.make(name, vectors=vectors, genes=vectors.names[:20], x="X_planted",
                    progress=False, **own).fit(bags)  # fmt: skip
    narrow = vectors_of((*vectors.names, "NEW1"), np.ones((31, 7)))
    model.vectors_ = narrow
    with pytest.raises(InputError, match=f"{name}.* 24 .* 7"):
        model.predict(bags, ("NEW1",))


def test_a_gene_without_text_is_named():
    with pytest.raises(InputError, match="FOXP3"):
        gene_text(["A", "B", "FOXP3"], sources={"A": "collagen", "B": "keratin"})
    with pytest.warns(UserWarning, match="FOXP3"):
        text = gene_text(["A", "B", "FOXP3"], sources={"A": "collagen", "B": "keratin of skin"},
                         missing="drop")  # fmt: skip
    assert any("FOXP3" in n for n in text.notes)
    with pytest.raises(InputError, match="FOXP3"):
        gene_vectors(text, "tfidf", width=2).take(("A", "FOXP3"))


def test_every_method_says_the_same_of_an_unknown_gene(planted):
    bags, vectors = planted
    quick = {"epochs": 1, "width": 8}
    made = {"nearest_gene": {"alpha": 1.0}, "bilinear": FIXED,
            "sgn": quick | {"layers": 1, "gene_width": 8, "text_layers": 1},
            "deep_association": quick,
            "gene_ensemble": {"parts": 2, "method": {"method": "bilinear", **FIXED}}}  # fmt: skip
    for name, own in made.items():
        model = sm.make(name, vectors=vectors, genes=vectors.names[:20], x="X_planted",
                        progress=False, **own).fit(bags)  # fmt: skip
        for ask in (model.predict, model.confidence, model.to_anndata):
            with pytest.raises(InputError, match="1 of 2 genes have no vector.*NOPE1"):
                ask(bags, ("G1", "NOPE1"))


@pytest.mark.slow
def test_predictions_are_kept_where_all_folds_hide_the_same_genes():
    bags, vectors = planted_programmes(4, 16, n_genes=30, donors=2)
    table = {}
    for protocol in ("random", "highest"):
        table[protocol] = compare_expression(
            ["bilinear"], bags, unseen=protocol, n_unseen=8, vectors=vectors, view="X_planted",
            seeds=1,
        )  # fmt: skip
    kept = table["random"].predictions["bilinear"]
    assert kept.shape == (64, 8)
    assert np.isfinite(kept).all()
    hidden = table["highest"].unseen.groupby("fold")["gene"].apply(tuple)
    assert hidden.nunique() > 1  # each fold has its own
    assert not table["highest"].predictions
    assert not table["highest"].gene_names


def test_a_block_that_would_leave_too_few_is_passed_over():
    bags, vectors = planted_programmes(2, 9, n_genes=40)
    names = vectors.names
    sets = {"all": names, "some": names[:12]}
    assert unseen_genes(bags, names, "blocks", 10, sets=sets) == names[:12]


def test_a_seen_gene_under_another_name_is_seen():
    bags, vectors = planted_programmes(2, 16, n_genes=20)
    table = dataclasses.replace(vectors, aliases={"ENSG00000000003": "G2", "OLD7": "G15"})
    model = Bilinear(vectors=table, genes=vectors.names[:12], x="X_planted").fit(bags)
    told = model.nearness(("ENSG00000000003.4", "OLD7", "G2"))
    assert told["seen"].tolist() == [True, False, True]
    assert told["nearest"][0] == told["nearest"][2] != "G2"
    one, two = model.predict(bags, ("ENSG00000000003", "G2")).T
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_tiles_that_are_left_out_are_predicted_in_their_whole_slides(planted):
    """A network that reads whole slides would say something else of a fifth of the tiles."""
    bags, vectors = planted
    train, test = expression_folds(bags, by="tile", folds=2)[0]
    sgn = sm.make("sgn", width=8, layers=1, gene_width=8, text_layers=1, epochs=2, x="X_planted",
                  vectors=vectors, genes=vectors.names[:20], progress=False)  # fmt: skip
    out = compare_expression([sgn], bags, by="tile", folds=2, genes=vectors.names[:20], seeds=1,
                             vectors=vectors, progress=False, n_jobs=1)  # fmt: skip
    alone = sgn.fit(bags.keep(train))
    kept = out.predictions["sgn"][test]
    np.testing.assert_allclose(kept, alone.forward(bags)[test], atol=1e-5)
    assert np.abs(kept - alone.forward(bags.keep(test))).max() > 0.01
