"""Gene sets, groups, weights and maps of terms, on hand-written sets."""

import gzip
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

from smalti.errors import InputError
from smalti.genes import (
    gene_groups,
    gene_kind,
    interacting_pairs,
    match,
    pathway_membership,
    pathway_weights,
    read_gmt,
    term_map,
    term_similarity,
)

SETS = {"small": ("A", "B"), "large": ("A", "B", "C", "D"), "apart": ("E", "F", "Z")}
GENES = ["F", "E", "D", "C", "B", "A", "X"]


def is_partition(groups, n):
    where = np.concatenate(list(groups.values()))
    return sorted(where.tolist()) == list(range(n)) and all(len(g) for g in groups.values())


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["a.gmt", "a.gmt.gz"])
def test_read_gmt(tmp_path, name):
    text = "one\thttp://x\tA\tB\tA\t\nTwo words (GO:0000001)\t\tC\n\n"
    raw = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert read_gmt(tmp_path / name) == {"one": ("A", "B"), "Two words (GO:0000001)": ("C",)}
    (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode())
    assert read_gmt(tmp_path / name)["one"] == ("A", "B")


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("one\tx\tA\ntwo\tx\n", "a.gmt, line 2: not a gene set"),
        ("one\tx\tA\n\n\tx\tA\n", "a.gmt, line 3: not a gene set"),
        ("one\tx\tA\none\tx\tB\n", "a.gmt, line 2: the set 'one'"),
        ("one A B\n", "a.gmt, line 1"),
        ("", "a.gmt (holds no gene set|is cut short or damaged)"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, culprit):
    (tmp_path / "a.gmt").write_text(text)
    with pytest.raises(InputError, match=culprit):
        read_gmt(tmp_path / "a.gmt")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no file .*no\.gmt"):
        read_gmt(tmp_path / "no.gmt")
    (tmp_path / "cut.gmt.gz").write_bytes(gzip.compress(b"one\tx\tA\n" * 99)[:-9])
    with pytest.raises(InputError, match=r"cut\.gmt\.gz is cut short or damaged"):
        read_gmt(tmp_path / "cut.gmt.gz")
    (tmp_path / "b.gmt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text"):
        read_gmt(tmp_path / "b.gmt")


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("gene", "kind"),
    [
        ("ENSG00000141510", "ensembl"), ("ENSG00000141510.12", "ensembl"),
        ("ENSMUSG00000059552", "ensembl"), ("AL357054.4", "clone"), ("AC012345.10", "clone"),
        ("Z98884.1", "clone"), ("TP53", "symbol"), ("LINC01770", "symbol"), ("HLA-A", "symbol"),
        ("5S_rRNA", "symbol"),
    ],
)  # fmt: skip
def test_gene_kind(gene, kind):
    assert gene_kind(gene) == kind


def test_match_positions_and_report():
    found = match(SETS, GENES)
    assert {n: w.tolist() for n, w in found.sets.items()} == {
        "small": [4, 5], "large": [2, 3, 4, 5], "apart": [0, 1],
    }  # fmt: skip
    assert str(found) == "6 of 7 genes (86%) are in gene sets"
    assert list(match(SETS, GENES, min_size=3).sets) == ["large"]
    assert list(match(SETS, GENES, max_size=2).sets) == ["small", "apart"]


def test_ensembl_versions_do_not_matter_and_clone_numbers_do():
    found = match({"s": ["ENSG00000141510.3", "AL357054.4"]}, ["ENSG00000141510.12", "AL357054.1"])
    assert found.sets["s"].tolist() == [0]


def test_other_names_are_an_error_with_the_reason():
    human = {"s": ["GAPDH", "TP53", "CD4"]}
    with pytest.raises(InputError, match=r"0 of 3 .*'Gapdh', 'GAPDH'.*another species"):
        match(human, ["Gapdh", "Trp53", "Cd4"])
    assert match(human, ["Gapdh", "Trp53", "Cd4"], ignore_case=True).n_covered == 2
    with pytest.raises(InputError, match="genes are Ensembl ids, the sets hold symbols"):
        match(human, ["ENSG00000141510", "ENSG00000141511"])
    with pytest.raises(InputError, match="they are called 'foo'"):
        match(human, ["foo", "bar"])
    with pytest.raises(InputError, match="'CD4' is there twice"):
        match(human, ["CD4", "CD4"])
    with pytest.warns(UserWarning, match="only 1 of 20 genes"):
        match(human, ["CD4", *(f"g{i}" for i in range(19))])


# ------------------------------------------------------------------ groups


@pytest.mark.parametrize(
    ("genes", "match"),
    [
        (["TP53", "EGFR"], "1 of 2 genes are not in view 'counts': EGFR. Add them, or leave"),
        (["Tp53"], r"in other letters there \('Tp53', 'TP53'\)"),
        (["ENSG00000141510"], "the former are Ensembl ids, the latter symbols: translate"),
        (["BRCA1"], r"has 1 genes more than once: BRCA1\. Make the names unique"),
    ],
)
def test_genes_that_a_view_does_not_have_get_the_reason(genes, match):
    from smalti.bags import Bags
    from smalti.genes.units import gene_positions

    bags = Bags.from_rows({"counts": np.ones((2, 4))}, [0, 0],
                          features={"counts": ["BRCA1", "TP53", "BRCA1", "CA9"]})  # fmt: skip
    assert gene_positions(bags, ["CA9", "TP53"]).tolist() == [3, 1]
    with pytest.raises(InputError, match=match):
        gene_positions(bags, genes)


def test_prefix_groups():
    genes = ["AL357054.4", "AL391244.2", "LINC01770", "LINC01781", "MT-CO1", "5S_rRNA", "Z98884.1"]
    got = gene_groups(genes, "prefix", min_size=2)
    assert {n: w.tolist() for n, w in got.items()} == {
        "AL": [0, 1], "LINC": [2, 3], "other": [4, 5, 6],
    }  # fmt: skip
    assert is_partition(gene_groups(genes, "prefix", min_size=1), 7)


def test_groups_of_nothing_are_said():
    names = [f"{chr(65 + i % 26)}{chr(65 + i // 26)}X{i}" for i in range(60)]  # a named panel
    with pytest.warns(UserWarning, match=r"60 of 60 genes \(100%\).*one group, as with 'none'"):
        got = gene_groups(names, "prefix")
    assert list(got) == ["other"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gene_groups(["A1", "A2", "B1"], "prefix", min_size=1)


def test_others_go_to_the_group_they_go_up_and_down_with():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 10)
    x = rng.normal(size=(100, 3))[:, truth] + 0.5 * rng.normal(size=(100, 30))
    x[:, 25] = 1.0  # constant
    names = np.array(["A", "B", "Q"])[np.where(np.arange(30) % 10 < 5, truth, 2)]
    genes = [f"{n}{i}" for i, n in enumerate(names)]
    genes[20:] = [f"Q{i}X" for i in range(20, 30)]
    mapping = {g: g[0] for g in genes if g[0] != "Q"}
    got = gene_groups(genes, "function", mapping=mapping, min_size=5, others="nearest", target=x)
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    centre = {n: z[:, names == n].mean(1) for n in "AB"}
    for i in set(np.flatnonzero(names == "Q")) - {25}:
        assert i in got[max("AB", key=lambda n: np.corrcoef(centre[n], z[:, i])[0, 1])]
    assert set(range(10)) <= set(got["A"])
    assert set(range(10, 20)) <= set(got["B"])
    assert got["other"].tolist() == [25]
    with pytest.raises(InputError, match="give target"):
        gene_groups(genes, "function", mapping=mapping, min_size=5, others="nearest")


def test_kmeans_finds_genes_that_go_together():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    scale = np.exp(rng.normal(size=90))
    x = (rng.normal(size=(200, 3))[:, truth] + 0.3 * rng.normal(size=(200, 90))) * scale
    x += 5 * rng.random(90)
    genes = [f"g{i}" for i in range(90)]
    got = gene_groups(genes, "kmeans", target=x, n_groups=3)
    assert is_partition(got, 90)
    labels = np.empty(90, int)
    for k, where in enumerate(got.values()):
        labels[where] = k
    assert adjusted_rand_score(truth, labels) == 1
    sizes = [len(w) for w in got.values()]
    assert sizes == sorted(sizes, reverse=True)
    for again in (x, sp.csr_matrix(x)):
        other = gene_groups(genes, "kmeans", target=again, n_groups=3)
        assert all(np.array_equal(got[n], other[n]) for n in got)
    x[:, 4] = 1.0  # constant
    assert is_partition(gene_groups(genes, "kmeans", target=x, n_groups=3), 90)


def test_kmeans_by_level_without_standardising():
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 5.0, 10.0], 20)
    x = level + rng.normal(size=(50, 60))
    got = gene_groups([f"g{i}" for i in range(60)], "kmeans", target=x, n_groups=3,
                      standardise=False)  # fmt: skip
    assert sorted(sorted(w.tolist()) for w in got.values()) == np.arange(60).reshape(3, 20).tolist()


def test_function_groups_take_the_smallest_set():
    genes = [f"g{i}" for i in range(20)]
    sets = {"all": genes, "broad": genes[:10], "inner": genes[:4], "twin": genes[1:4],
            "far": genes[12:15], "gone": ["q"]}  # fmt: skip
    kwargs = {"sets": sets, "min_size": 2, "max_share": 0.5}
    got = gene_groups(genes, "function", n_groups=2, **kwargs)
    assert {n: w.tolist() for n, w in got.items()} == {
        "broad": list(range(10)), "far": [12, 13, 14], "other": [10, 11, 15, 16, 17, 18, 19],
    }  # fmt: skip
    # once all its genes are covered, a set adds nothing, however many groups are asked for
    assert list(gene_groups(genes, "function", n_groups=9, **kwargs)) == list(got)
    # one new gene is too few for a group
    edge = {"broad": genes[:10], "edge": genes[9:11]}
    got = gene_groups(genes, "function", sets=edge, min_size=2, max_share=0.5)
    assert list(got) == ["broad", "other"]
    # both picked: shared genes go to the smaller
    sets = {"broad": genes[:10], "overlaps": genes[7:12]}
    got = gene_groups(genes, "function", sets=sets, min_size=2, max_share=0.5)
    assert got["overlaps"].tolist() == [7, 8, 9, 10, 11]
    assert got["broad"].tolist() == list(range(7))


def test_groups_by_the_users_mapping():
    with pytest.warns(UserWarning, match=r"5 of 7 genes \(71%\).*x 29%"):
        got = gene_groups(GENES, "function", mapping={"A": "x", "B": "x", "C": "y"}, min_size=2)
    assert {n: w.tolist() for n, w in got.items()} == {"x": [4, 5], "other": [0, 1, 2, 3, 6]}
    assert gene_groups(GENES, "none")["all"].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("how", "kwargs", "culprit"),
    [
        ("name", {}, "how='name'"),
        ("prefix", {"others": "drop"}, "others='drop'"),
        ("kmeans", {}, "training tiles"),
        ("kmeans", {"target": np.ones((5, 6))}, r"\(5, 6\)"),
        ("kmeans", {"target": np.ones((5, 7)), "n_groups": 8}, "n_groups=8 for 7"),
        ("kmeans", {"target": np.full((5, 7), np.nan)}, "not finite"),
        ("function", {}, "sets or a mapping"),
        ("function", {"sets": SETS, "min_size": 5}, "no set has 5"),
        ("function", {"mapping": {"Q": "x"}}, "none of the genes"),
    ],
)
def test_bad_groups_are_named(how, kwargs, culprit):
    with pytest.raises(InputError, match=culprit):
        gene_groups(GENES, how, **kwargs)


# ------------------------------------------------------------------ pathways


def test_membership_and_weights_by_hand():
    table, names = pathway_membership(SETS, GENES, min_size=2)
    assert names == ["small", "large", "apart"]
    want = [[0, 0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(table.toarray(), want)
    n = np.array([1, 1, 1, 1, 2, 2, 0])
    for how, raw in {
        "log": 1 + np.log(1 + n),
        "member": 1 + (n > 0),
        "linear": 1 + n,
        "specific": 1 + np.log(1 + np.array([5, 5, 2.5, 2.5, 7.5, 7.5, 0])),
    }.items():
        got = pathway_weights(GENES, SETS, how=how)
        np.testing.assert_allclose(got, raw / raw.mean(), rtol=1e-6)
    with pytest.raises(InputError, match="how='most'"):
        pathway_weights(GENES, SETS, how="most")
    with pytest.raises(InputError, match="no pathway has 9"):
        pathway_membership(SETS, GENES, min_size=9)


def test_interacting_pairs_equal_a_loop():
    rng = np.random.default_rng(0)
    table = (rng.random((12, 30)) < 0.3) * rng.random((12, 30))
    sets = [set(np.flatnonzero(row)) for row in table]
    for threshold in (0.0, 0.15, 0.3):
        want = [(i, j) for i in range(12) for j in range(i + 1, 12)
                if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) > threshold]  # fmt: skip
        assert want
        got = interacting_pairs(sp.csr_array(table), threshold=threshold)
        assert [tuple(p) for p in got] == want
    assert interacting_pairs(np.eye(3)).shape == (0, 2)
    with pytest.raises(InputError, match="threshold=1"):
        interacting_pairs(table, threshold=1)


# ------------------------------------------------------------------ terms

OBO = """format-version: 1.2

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process

[Term]
id: GO:0000001
name: left
namespace: biological_process
is_a: GO:0008150

[Term]
id: GO:0000002
name: right
namespace: biological_process
is_a: GO:0008150

[Term]
id: GO:0000003
name: left leaf
namespace: biological_process
is_a: GO:0000001

[Term]
id: GO:0000004
name: another left leaf
namespace: biological_process
alt_id: GO:0000009
is_a: GO:0000001
"""
TERMS = {
    "right (GO:0000002)": ["e", "f", "g", "h"],
    "leaf (GO:0000003)": ["a", "b"],
    "other leaf (GO:0000009)": ["b", "c"],
    "left (GO:0000001)": ["d"],
}  # of 8 genes the left has 4


def test_similarity_from_sets_by_hand():
    jaccard = term_similarity(SETS, "jaccard")
    assert jaccard.loc["small", "large"] == 0.5
    assert jaccard.loc["small", "apart"] == 0
    assert (np.diag(jaccard) == 1).all()
    assert term_similarity(SETS, "overlap").loc["small", "large"] == 1
    # A, B are in two of three sets, C, D in one
    two, one = math.log(3 / 2) ** 2, math.log(3) ** 2
    want = 2 * two / math.sqrt(2 * two * (2 * two + 2 * one))
    assert term_similarity(SETS, "cosine").loc["small", "large"] == pytest.approx(want)


def test_lin_and_resnik_by_hand(tmp_path):
    pytest.importorskip("goatools")
    (tmp_path / "tiny.obo").write_text(OBO)
    names = list(TERMS)
    half, quarter = math.log(2), math.log(4)  # information of the left (4 of 8), of a leaf (2 of 8)
    resnik = term_similarity(TERMS, "resnik", obo=tmp_path / "tiny.obo")
    lin = term_similarity(TERMS, "lin", obo=tmp_path / "tiny.obo")
    assert list(lin.index) == names
    right, leaf, other, left = names
    for got, between, up in ((resnik, half / quarter, half / quarter),
                             (lin, half / quarter, 2 * half / (half + quarter))):  # fmt: skip
        assert got.loc[leaf, other] == pytest.approx(between)
        assert got.loc[leaf, left] == pytest.approx(up)
        assert got.loc[leaf, right] == 0
        np.testing.assert_allclose(got, got.T)
        assert (np.diag(got) == 1).all()


def test_lin_equals_goatools(tmp_path):
    pytest.importorskip("goatools")
    from goatools.obo_parser import GODag
    from goatools.semantic import TermCounts, lin_sim

    (tmp_path / "tiny.obo").write_text(OBO)
    dag = GODag(str(tmp_path / "tiny.obo"), prt=None)
    ids = dict(zip(TERMS, ["GO:0000002", "GO:0000003", "GO:0000004", "GO:0000001"], strict=True))
    of = {}
    for name, members in TERMS.items():
        for gene in members:
            of.setdefault(gene, set()).add(ids[name])
    counts = TermCounts(dag, of)
    got = term_similarity(TERMS, "lin", obo=tmp_path / "tiny.obo")
    for a in TERMS:
        for b in TERMS:
            if a != b:
                assert got.loc[a, b] == pytest.approx(lin_sim(ids[a], ids[b], dag, counts))


def test_terms_the_ontology_lacks(tmp_path):
    pytest.importorskip("goatools")
    (tmp_path / "tiny.obo").write_text(OBO)
    more = TERMS | {"gone (GO:0999999)": ["a"], "no id": ["b"]}
    with pytest.warns(UserWarning, match="2 of 6 terms"):
        assert list(term_similarity(more, "lin", obo=tmp_path / "tiny.obo").index) == list(TERMS)
    with pytest.raises(InputError, match="'no id' has none"):
        term_similarity({"no id": ["b"]}, "lin", obo=tmp_path / "tiny.obo")
    with pytest.raises(InputError, match=r"none\.obo is not there"):
        term_similarity(TERMS, "lin", obo=tmp_path / "none.obo")
    with pytest.raises(InputError, match="give obo"):
        term_similarity(TERMS, "lin")
    with pytest.raises(InputError, match="similarity='dice'"):
        term_similarity(TERMS, "dice")


@pytest.fixture
def planted():
    """Three families of ten terms, each drawing on its own 30 genes; 10 genes in none."""
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(100)]
    sets = {
        f"t{k}_{i}": [genes[j] for j in 30 * k + rng.choice(30, 15 + i % 3, replace=False)]
        for k in range(3) for i in range(10)
    }  # fmt: skip
    return genes, sets


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["jaccard", "overlap", "cosine"])
@pytest.mark.parametrize("by", ["kmeans", "ward"])
def test_term_map_finds_planted_families(planted, similarity, by):
    genes, sets = planted
    got = term_map(sets, genes, similarity=similarity, n_groups=3, by=by)
    assert list(got.terms.columns) == ["term", "x", "y", "group", "size"]
    family = [t[:2] for t in got.terms["term"]]
    assert adjusted_rand_score(family, got.terms["group"]) == 1
    assert dict(zip(got.terms["term"], got.terms["size"], strict=True)) == {
        n: len(set(m)) for n, m in sets.items()
    }
    assert list(got.genes.index) == genes
    covered = np.array([any(g in m for m in sets.values()) for g in genes])
    assert ((got.genes == "other").to_numpy() == ~covered).all()
    assert adjusted_rand_score(np.arange(100)[covered] // 30, got.genes[covered]) == 1
    assert is_partition(got.groups, 100)
    xy = got.terms[["x", "y"]].to_numpy()
    near, far = np.linalg.norm(xy[:, None] - xy, axis=2), 1 - term_similarity(sets, similarity)
    want = np.sqrt(((near - far.to_numpy()) ** 2).sum() / (far.to_numpy() ** 2).sum())
    assert got.stress == pytest.approx(want, rel=0.02)  # it is of the last but one iteration
    assert set(got.terms["group"]) <= set(got.terms["term"])  # named after the middle term
    pd.testing.assert_frame_equal(
        got.terms, term_map(sets, genes, similarity=similarity, n_groups=3, by=by).terms
    )


def test_a_map_of_a_plane_is_exact():
    """Distances that a plane holds are kept: three terms, each shares half with the next."""
    sets = {"a": list("ABCD"), "b": list("CDEF"), "c": list("EFAB")}
    got = term_map(sets, list("ABCDEF"), min_size=1, n_groups=3)
    xy = got.terms[["x", "y"]].to_numpy()
    gaps = [np.linalg.norm(xy[i] - xy[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(gaps, 1 - 1 / 3, atol=1e-6)
    assert got.stress < 1e-5


def test_a_specific_term_outvotes_a_broad_one():
    one, two = list("abcdefgh"), list("zyxwvuts")
    sets = {
        "one": one,
        "one'": one[:7],
        "two": two,
        "two'": [*two[1:], "a", "b"],
        "spec": ["a", "z"],
    }
    got = term_map(sets, one + two, min_size=1, n_groups=3)
    of = got.terms.set_index("term")["group"]
    assert of["one"] == of["one'"] != of["two"] == of["two'"]
    assert got.genes["a"] == of["spec"]  # 1/2 against 1/8 + 1/7 and 1/9
    assert got.genes["b"] == of["one"]


def test_the_map_is_bounded(planted):
    genes, sets = planted
    sets = sets | {"twin": sets["t0_0"], "huge": genes, "tiny": genes[:2]}
    got = term_map(sets, genes, max_size=50, n_groups=2)
    assert len(got.terms) == 30  # neither twin, nor huge, nor tiny
    few = term_map(sets, genes, max_size=50, n_groups=2, most=9)
    assert len(few.terms) == 9
    assert set(few.terms["size"]) == {17}  # the largest
    with pytest.raises(InputError, match="9 terms are left for 12 groups"):
        term_map(sets, genes, most=9, max_size=50, n_groups=12)
    with pytest.raises(InputError, match="by='name'"):
        term_map(sets, genes, by="name")


def test_term_map_over_an_ontology(tmp_path):
    pytest.importorskip("goatools")
    (tmp_path / "tiny.obo").write_text(OBO)
    got = term_map(TERMS, list("abcdefgh"), similarity="lin", obo=tmp_path / "tiny.obo",
                   min_size=1, n_groups=2)  # fmt: skip
    groups = got.terms.set_index("term")["group"]
    assert groups["leaf (GO:0000003)"] == groups["left (GO:0000001)"]
    assert groups["right (GO:0000002)"] != groups["left (GO:0000001)"]
    assert got.genes["h"] == groups["right (GO:0000002)"]


# ------------------------------------------------------------------ real files


@pytest.mark.slow
@pytest.mark.data
def test_real_gene_sets(data):
    folder = data / "gene_sets"
    kegg = read_gmt(folder / "c2.cp.kegg.v7.0.symbols.gmt.gz")
    reactome = read_gmt(folder / "c2.cp.reactome.v7.0.symbols.gmt.gz")
    terms = read_gmt(folder / "enrichr.GO_Biological_Process_2021.gmt.gz")
    assert [len(s) for s in (kegg, reactome, terms)] == [186, 1499, 6036]
    genes = sorted({g for s in reactome.values() for g in s})[::2]
    weights = pathway_weights(genes, kegg | reactome)
    assert weights.mean() == pytest.approx(1)
    assert weights.min() > 0
    table, names = pathway_membership(kegg | reactome, genes)
    pairs = interacting_pairs(table, threshold=0.3)
    pair = [(kegg | reactome)[names[i]] for i in pairs[0]]
    here = [set(p) & set(genes) for p in pair]
    assert len(here[0] & here[1]) / len(here[0] | here[1]) > 0.3
    assert is_partition(gene_groups(genes, "function", sets=terms), len(genes))
    got = term_map(terms, genes, similarity="cosine", most=150)
    assert is_partition(got.groups, len(genes))
    assert 3 <= len(got.groups) <= 9
