"""Text of genes, their vectors by encoders with and without weights, and files of vectors."""

import gzip
import json
import sys
import types

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from smalti.errors import InputError
from smalti.genes import GeneText, gene_text, gene_vectors, language, lsa, read_vectors
from smalti.genes.text_sources import term_words

GMT = (
    "collagen fibril organization (GO:0030199)\t\tCOL1A1\tCOL1A2\tLUM\n"
    "antigen processing (GO:0019882)\t\tHLA-A\tHLA-B\n"
    "REACTOME_CELL_CYCLE\thttp://x\tMKI67\tCDK1\n"
)
TABLE = (
    "symbol\tensembl\tentrez\tsynonyms\tdescription\n"
    "COL1A1\tENSG00000108821\t1277\tOI4|EDSC\tcollagen type I alpha 1 chain\n"
    "COL1A2\tENSG00000164692\t1278\tOI4\tcollagen type I alpha 2 chain\n"
    "HLA-A\tENSG00000206503\t3105\tHLAA\tmajor histocompatibility complex, class I, A\n"
    "HLA-B\tENSG00000234745\t3106\t-\tmajor histocompatibility complex, class I, B\n"
    "MKI67\tENSG00000148773\t4288\tKIA\tmarker of proliferation\n"
    "CDK1\tENSG00000170312\t983\tCDC2, P34CDC2\tcyclin dependent kinase 1\n"
)
GENES = ["COL1A1", "COL1A2", "HLA-A", "HLA-B", "MKI67", "CDK1"]


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "GO.gmt").write_text(GMT)
    (tmp_path / "names.tsv.gz").write_bytes(gzip.compress(TABLE.encode()))
    return [tmp_path / "names.tsv.gz", tmp_path / "GO.gmt"]


def cosine(vectors, a, b):
    x, y = vectors.x[vectors.positions([a, b])]
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def same(a, b):
    assert a.names == b.names
    for k in a.arrays().keys() | b.arrays().keys():
        np.testing.assert_array_equal(a.arrays()[k], b.arrays()[k])


# ------------------------------------------------------------------ sources


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("'de novo' protein folding (GO:0051084)", "'de novo' protein folding"),
        ("REACTOME_CELL_CYCLE", "cell cycle"), ("GOBP_T_CELL_ACTIVATION", "t cell activation"),
        ("Translation R-HSA-72766", "Translation"), ("Apoptosis WP254", "Apoptosis"),
        ("HALLMARK_HYPOXIA", "hypoxia"), ("DNA repair; of breaks", "DNA repair, of breaks"),
        ("R-HSA-72766", "r-hsa-72766"), ("my_set", "my set"),
    ],
)  # fmt: skip
def test_names_of_sets_become_words(name, words):
    assert term_words(name) == words


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sentences_are_labelled_and_ordered(sources):
    text = gene_text(sources=sources)
    assert text.names == tuple(sorted([*GENES, "LUM"]))
    own = text.parts[text.names.index("COL1A1")]
    assert [s[:2] for s in own] == [
        ("description", "collagen type I alpha 1 chain"), ("GO", "collagen fibril organization"),
    ]  # fmt: skip
    assert own[1].terms == ("collagen fibril organization",)
    assert text.full[text.names.index("COL1A1")] == (
        "collagen type I alpha 1 chain. collagen fibril organization."
    )
    turned = gene_text(["LUM", "CDK1"], sources=sources[::-1])
    assert turned.names == ("LUM", "CDK1")
    assert [s.label for s in turned.parts[1]] == ["GO", "description"]
    one = gene_text(sources=str(sources[1]))
    assert "collagen" in one.full[one.names.index("LUM")]


def test_columns_are_found_by_common_names(tmp_path):
    (tmp_path / "a.csv").write_text(
        "HGNC Symbol,name,Gene stable ID,Summary\nNA,sodium gene,ENSG00000000007.3,salt. \n"
        ",none,,x\nNA,sodium gene,,more\n"
    )
    text = gene_text(["ENSG00000000007"], sources=tmp_path / "a.csv")
    assert text.full == ("sodium gene. salt. more.",)
    assert text.called == (("NA",),)
    (tmp_path / "b.csv").write_text("id,words\nA,x\n")
    with pytest.raises(InputError, match=r"b\.csv has no column of symbols .*it has id, words"):
        gene_text(sources=tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("gene,words\nA,x\n")
    with pytest.raises(InputError, match=r"no column of text .*it has gene, words"):
        gene_text(sources=tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("a.docx", r"source 'a\.docx' is none of"),
        ("no.tsv", r"no file no\.tsv"),
        ([], "sources= is empty"),
        ({"A": ["x", "y"]}, "'A' has a list for its text"),
        ({"A": "  "}, "no source has text"),
        ("mygene", "looks genes up one by one"),
    ],
)
def test_bad_sources_are_named(given, culprit):
    with pytest.raises(InputError, match=culprit):
        gene_text(sources=given)


def test_damaged_table_is_named(tmp_path):
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(TABLE.encode())[:-20])
    with pytest.raises(InputError, match=r"cut\.tsv\.gz is cut short or damaged"):
        gene_text(sources=tmp_path / "cut.tsv.gz")


# ------------------------------------------------------------------ names


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_names_resolve(sources):
    asked = ["ENSG00000108821.7", "COL1A2", "CDC2", "3105", "HLA-B", "MKI67"]
    text = gene_text(asked, sources=sources)
    assert text.names == tuple(asked)
    assert text.called == (("COL1A1",), ("COL1A2",), ("CDK1",), ("HLA-A",), ("HLA-B",), ("MKI67",))
    assert text.notes == ("1 of 6 genes were found by a synonym: CDC2 (CDK1)",)
    vectors = gene_vectors(text)
    # found again by any other name, with its numbers
    for name, other in [("CDC2", "CDK1"), ("CDC2", "P34CDC2"), ("CDC2", "ENSG00000170312.1"),
                        ("3105", "HLA-A"), ("ENSG00000108821.7", "COL1A1")]:  # fmt: skip
        a, b = vectors.positions([name, other])
        assert a == b >= 0
    assert vectors.positions(["OI4"]) == [-1]  # of two genes


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("merged", ["COL1A1|HLA-A", "COL1A1;HLA-A", "COL1A1 /// HLA-A"])
def test_merged_names_get_a_segment_each(sources, merged):
    text = gene_text([merged, "MKI67", "CDK1"], sources=sources)
    assert text.called[0] == ("COL1A1", "HLA-A")
    assert {s.segment for s in text.parts[0]} == {0, 1}
    assert text.segments(0)[1][0] == "HLA-A"
    assert all("collagen" in s.text for s in text.parts[0] if s.segment == 0)
    assert "ambiguous names" in text.notes[0]
    vectors = gene_vectors(text, tokens=True)
    first = vectors.segment[: vectors.offsets[1]]
    assert sorted(set(first)) == [0, 1]
    assert (np.diff(first) >= 0).all()
    assert not vectors.segment[vectors.offsets[1] :].any()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ambiguous_names_stop_at_five(sources):
    assert gene_text(["OI4", "CDK1"], sources=sources).called[0] == ("COL1A1", "COL1A2")
    assert len(gene_text(["|".join(GENES)], sources=sources).called[0]) == 5
    # a merged name of which one part is known means that one
    text = gene_text(["CDK1|nope"], sources=sources)
    assert text.called == (("CDK1",),)
    assert not text.notes


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_synonyms_in_one_source_are_the_genes_of_another(tmp_path, sources):
    (tmp_path / "old.gmt").write_text("old set\t\tCDC2\tOI4\tNEW\n")
    text = gene_text(sources=[tmp_path / "old.gmt", sources[0]])
    assert "CDC2" not in text.names
    assert "old set" in text.full[text.names.index("CDK1")]
    assert text.full[text.names.index("OI4")] == "old set."  # of two genes: left as it is


def test_duplicates_are_reported(sources):
    with pytest.warns(UserWarning, match=r"2 of 3 genes have the same text .*CDK1 = ENSG"):
        text = gene_text(["CDK1", "ENSG00000170312", "HLA-A"], sources=sources)
    a, b, _ = gene_vectors(text).x
    np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="'CDK1' is there twice"):
        gene_text(["CDK1", "CDK1"], sources=sources)
    with pytest.raises(InputError, match="a list of names"):
        gene_text("CDK1", sources=sources)


def test_another_species_is_an_error_with_the_mend(sources):
    mouse = ["Col1a1", "Cdk1", "Mki67"]
    with pytest.raises(InputError, match=r"3 of 3 .*'Col1a1', 'COL1A1'.*ignore_case=True"):
        gene_text(mouse, sources=sources)
    for missing in ("error", "drop"):
        with pytest.raises(InputError, match="another species"):
            gene_text([*mouse, "HLA-A"], sources=sources, missing=missing)
    text = gene_text(mouse, sources=sources, ignore_case=True)
    assert text.names == tuple(mouse)
    assert text.called == (("COL1A1",), ("CDK1",), ("MKI67",))
    with pytest.raises(InputError, match=r"another species \('ENSMUSG.*'ENSG"):
        gene_text(["ENSMUSG00000019942"], sources=sources)
    with pytest.raises(InputError, match="symbols only: add a table"):
        gene_text(["ENSG00000170312"], sources=sources[1])


def test_missing_text(sources):
    asked = [*GENES, "nope", "none"]
    with pytest.raises(InputError, match=r"2 of 8 genes have no text: nope, none; .*'drop'"):
        gene_text(asked, sources=sources)
    with pytest.warns(UserWarning, match="2 of 8 genes without text were dropped: none, nope"):
        text = gene_text(asked, sources=sources, missing="drop")
    assert text.names == tuple(GENES)
    with pytest.raises(InputError, match="3 of 5 genes have no text"):  # under half
        gene_text(["CDK1", "HLA-A", "a", "b", "c"], sources=sources, missing="drop")
    with pytest.raises(InputError, match="missing='skip'"):
        gene_text(asked, sources=sources, missing="skip")


# ------------------------------------------------------------------ mygene.info


class Client:
    def __init__(self, hits=(), error=None):
        self.hits, self.error, self.asked = hits, error, []

    def querymany(self, genes, **kwargs):
        if self.error:
            raise self.error
        self.asked.append((genes, kwargs["species"]))
        return list(self.hits)


@pytest.mark.filterwarnings("ignore:.*the same text")
def test_mygene():
    hits = [
        {"query": "CDC2", "symbol": "CDK1", "name": "cyclin dependent kinase 1", "alias": "CDC2",
         "summary": "A catalytic subunit.", "ensembl": {"gene": "ENSG00000170312"},
         "entrezgene": "983"},
        {"query": "ENSG00000206503", "symbol": "HLA-A", "name": "MHC A", "alias": ["HLAA", "A3"],
         "ensembl": [{"gene": "ENSG00000206503"}, {"gene": "ENSG00000224320"}]},
        {"query": "xyz", "notfound": True},
    ]  # fmt: skip
    client = Client(hits)
    with pytest.warns(UserWarning, match="synonym"):
        text = gene_text(["CDC2", "ENSG00000206503.3", "xyz|CDK1"], sources=["mygene"],
                         client=client, species="mouse")  # fmt: skip
    assert client.asked == [(["CDC2", "ENSG00000206503", "xyz", "CDK1"], "mouse")]
    assert text.full[:2] == ("cyclin dependent kinase 1. A catalytic subunit.", "MHC A.")
    assert text.called == (("CDK1",), ("HLA-A",), ("CDK1",))
    with pytest.raises(InputError, match=r"cannot be asked \(ConnectionError.*no network"):
        gene_text(["CDK1"], sources="mygene", client=Client(error=ConnectionError("down")))


def test_mygene_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("smalti.system.extras.importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r"mygene is not installed: pip install .smalti\[summaries\]"
    ):
        gene_text(["CDK1"], sources="mygene")


# ------------------------------------------------------------------ tfidf


@pytest.fixture
def planted(tmp_path):
    """Four families of 15 genes; each gene has 4 of its family's 8 terms, all share 2 more."""
    rng = np.random.default_rng(0)
    lines = dict[str, list[str]]()
    for k in range(4):
        for i in range(15):
            own = [f"process {chr(97 + k)}{j} of kind{k}" for j in rng.permutation(8)[:4]]
            for term in [*own, "binding", "signal transduction"]:
                lines.setdefault(term, []).append(f"g{k}_{i}")
    file = tmp_path / "planted.gmt"
    file.write_text("".join("\t".join([t, "", *g]) + "\n" for t, g in lines.items()))
    return gene_text(sources=file)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_genes_that_share_terms_are_near(planted):
    vectors = gene_vectors(planted, width=16)
    unit = vectors.x / np.linalg.norm(vectors.x, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    family = np.array([n[:2] for n in vectors.names])
    order = np.argsort(-near, axis=1)[:, :14]
    assert (family[order] == family[:, None]).mean() > 0.99
    assert np.mean(np.square(vectors.x)) == pytest.approx(1, abs=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whole_terms_count(tmp_path):
    """The same words in other terms are further than the same terms."""
    file = tmp_path / "a.gmt"
    file.write_text("growth of cell\t\tA\tB\ncell growth\t\tC\tD\nkeratin\t\tE\tF\n")
    vectors = gene_vectors(gene_text(sources=file), width=4)
    assert cosine(vectors, "A", "B") == pytest.approx(1, abs=1e-5)
    assert 0.1 < cosine(vectors, "A", "C") < 0.95
    assert abs(cosine(vectors, "A", "E")) < 0.01


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_full_width_keeps_the_cosines_of_tfidf(planted):
    """Of full rank, LSA is a rotation: all inner products are those of TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = {f"g{i}": " ".join(f"w{j}x" for j in np.random.default_rng(i).permutation(9)[:4])
             for i in range(7)}  # fmt: skip
    vectors = gene_vectors(texts, width=99)
    assert "width 7, not 99" in vectors.notes[0]
    table = TfidfVectorizer(sublinear_tf=True).fit_transform(texts.values()).toarray()
    gram = vectors.x @ vectors.x.T
    np.testing.assert_allclose(gram / gram[0, 0], table @ table.T, atol=1e-4)


def test_words_sum_to_the_gene():
    """Without repeated words and whole terms, x points where the sum of the words does."""
    rng = np.random.default_rng(0)
    texts = {f"g{i}": " ".join(f"word{j}" for j in rng.permutation(30)[:6]) for i in range(40)}
    vectors = gene_vectors(texts, width=10, tokens=True)
    assert vectors.tokens.dtype == np.float16
    assert vectors.tokens.shape == (240, 10)
    for i in range(40):
        own = vectors.tokens[vectors.offsets[i] : vectors.offsets[i + 1]].astype(float).sum(0)
        x = vectors.x[i]
        assert own @ x / np.linalg.norm(own) / np.linalg.norm(x) > 0.999


def test_words_are_in_the_order_of_the_text_and_capped():
    texts = {"A": "gamma alpha beta alpha", "B": "beta gamma", "C": "the a", "D": "alpha"}
    vectors = gene_vectors(texts, width=3, tokens=True)
    parts = np.split(vectors.tokens, vectors.offsets[1:-1])
    assert [len(p) for p in parts] == [3, 2, 1, 1]
    np.testing.assert_array_equal(parts[0][[2, 0]], parts[1])
    np.testing.assert_array_equal(parts[0][1], parts[3][0])
    assert not parts[2].any()  # of no words, so nothing is known
    assert not vectors.x[2].any()
    capped = gene_vectors(texts, width=3, tokens=True, max_tokens=2)
    assert np.diff(capped.offsets).tolist() == [2, 2, 1, 1]
    np.testing.assert_array_equal(gene_vectors(texts, width=3).x, vectors.x)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tfidf_is_deterministic_and_blind_to_order(planted):
    first = gene_vectors(planted, width=8, tokens=True)
    same(first, gene_vectors(planted, width=8, tokens=True))
    order = np.random.default_rng(0).permutation(len(planted)).tolist()
    turned = gene_vectors(planted.rows(order), width=8, tokens=True)
    same(turned, first.take(turned.names))
    assert planted.rows(order).digest == planted.digest
    assert planted.rows(order[:-1]).digest != planted.digest


# ------------------------------------------------------------------ cache


@pytest.fixture
def counted(monkeypatch):
    calls = []
    encode = lsa.Lsa.encode

    def counting(self, *args):
        calls.append(1)
        return encode(self, *args)

    monkeypatch.setattr(lsa.Lsa, "encode", counting)
    return calls


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_cache(tmp_path, sources, counted):
    text = gene_text([*GENES[::-1], "HLA-A|CDK1"], sources=sources)
    first = gene_vectors(text, width=4, tokens=True, cache=tmp_path / "c")
    again = gene_vectors(text, width=4, tokens=True, cache=tmp_path / "c")
    same(first, again)
    assert (again.aliases, again.notes) == (first.aliases, first.notes)
    assert again.positions(["CDC2"]) == again.names.index("CDK1")
    assert len(counted) == 1
    turned = gene_vectors(text.rows(range(len(text))[::-1]), width=4, tokens=True,
                          cache=tmp_path / "c")  # fmt: skip
    same(turned, first.take(turned.names))
    assert len(counted) == 1
    for more in ({"seed": 1}, {"width": 3}, {"tokens": False}, {"max_tokens": 2}):
        gene_vectors(text, cache=tmp_path / "c", **({"width": 4, "tokens": True} | more))
    gene_vectors(text.rows([0, 1, 2]), width=4, tokens=True, cache=tmp_path / "c")
    assert len(counted) == 6
    assert len(list((tmp_path / "c").iterdir())) == 6  # and nothing half-written


def test_damaged_cache_is_made_anew(tmp_path, sources, counted):
    text = gene_text(sources=sources)
    first = gene_vectors(text, width=4, cache=tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    whole = file.read_bytes()
    for damage in (whole[:-8], b"", b"x" * 99, whole[:30] + b"}" + whole[31:]):
        file.write_bytes(damage)
        with pytest.warns(UserWarning, match="made anew"):
            same(gene_vectors(text, width=4, cache=tmp_path), first)
        assert file.read_bytes() == whole
    assert len(counted) == 5
    first.take(first.names[::-1]).save(file, overwrite=True)
    with pytest.warns(UserWarning, match="it is of other genes"):
        same(gene_vectors(text, width=4, cache=tmp_path), first)


# ------------------------------------------------------------------ language models


class FakeSentences:
    """Counts letters."""

    calls = 0
    fails_at = None

    def __init__(self, folder, **kwargs):
        self.kwargs = kwargs

    def encode(self, texts, **kwargs):
        cls = type(self)
        cls.calls += 1
        if cls.calls == cls.fails_at:
            raise KeyboardInterrupt
        return np.array([[t.count(c) for c in "abcdefgh"] for t in texts], dtype=np.float64)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A folder that looks like a model, and a package that takes it for one."""
    fake = type("Fake", (FakeSentences,), {})
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = fake
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": np.ones(3, np.float32)}, str(folder / "model.safetensors"))
    (folder / "config.json").write_text("{}")
    return folder, fake


def test_sentences(model, sources, tmp_path):
    folder, fake = model
    text = gene_text(GENES, sources=sources)
    got = gene_vectors(text, f"sentence:{folder}", prompt="{name}={text}")
    assert got.source == "sentence:model"
    want = [[f"{g}={t}".count(c) for c in "abcdefgh"]
            for g, t in zip(GENES, text.full, strict=True)]  # fmt: skip
    np.testing.assert_array_equal(got.x, want)
    cache = tmp_path / "cache"
    gene_vectors(text, f"sentence:{folder}", cache=cache)
    gene_vectors(text, f"sentence:{folder}", cache=cache)
    assert fake.calls == 2
    gene_vectors(text, f"sentence:{folder}", cache=cache, prompt="{text}")
    save_file({"w": np.zeros(3, np.float32)}, str(folder / "model.safetensors"))  # other weights
    gene_vectors(text, f"sentence:{folder}", cache=cache)
    assert fake.calls == 4


def test_a_killed_run_goes_on(model, sources, tmp_path, monkeypatch):
    folder, fake = model
    monkeypatch.setattr(language, "BLOCK", 2)
    text = gene_text(GENES, sources=sources)
    whole = gene_vectors(text, f"sentence:{folder}")
    fake.calls, fake.fails_at = 0, 3
    with pytest.raises(KeyboardInterrupt):
        gene_vectors(text, f"sentence:{folder}", cache=tmp_path / "c")
    assert len(list((tmp_path / "c").rglob("*.safetensors"))) == 2
    again = gene_vectors(text, f"sentence:{folder}", cache=tmp_path / "c")
    assert fake.calls == 4  # of three blocks only the last was made
    same(again, whole)
    assert len(list((tmp_path / "c").iterdir())) == 1


@pytest.mark.parametrize(
    ("kwargs", "culprit"),
    [
        ({"encoder": "bert"}, "encoder='bert' is none of"),
        ({"encoder": "sentence:"}, "encoder='sentence:' is none of"),
        ({"encoder": "sentence:/no/such"}, "no folder '/no/such'"),
        ({"encoder": "sentence:{folder}", "tokens": True}, "has no words: say 'states:NAME'"),
        ({"encoder": "sentence:{folder}", "prompt": "{summary}"}, r"only \{name\} and \{text\}"),
        ({"encoder": "sentence:{folder}", "prompt": "gene"}, r"neither \{name\} nor"),
        ({"encoder": "sentence:{folder}", "batch_size": 0}, "batch_size=0"),
        ({"encoder": "sentence:{folder}", "device": "abacus"}, "device='abacus'"),
        ({"encoder": "states:{folder}", "max_tokens": 0}, "max_tokens=0"),
        ({"width": 0}, "width=0"),
        ({"text": ["A", "B"]}, "names alone say nothing"),
        ({"text": {"A": "."}}, "has no words"),
    ],
)
def test_bad_encoders_are_named(model, kwargs, culprit):
    kwargs = {"text": {"A": "x y", "B": "xx yy"}} | kwargs
    if "encoder" in kwargs:
        kwargs["encoder"] = kwargs["encoder"].replace("{folder}", str(model[0]))
    with pytest.raises(InputError, match=culprit):
        gene_vectors(**kwargs)


def test_pickled_weights_and_foreign_code_are_refused(model):
    folder, _ = model
    text, encoder = {"A": "x"}, f"sentence:{folder}"
    (folder / "pytorch_model.bin").write_bytes(b"x")
    gene_vectors(text, encoder)  # beside safetensors it is not read
    (folder / "modules.json").write_text(json.dumps([{"type": "evil.Module", "path": ""}]))
    with pytest.raises(InputError, match=r"code of its own \(evil\.Module\)"):
        gene_vectors(text, encoder)
    (folder / "modules.json").write_text("{")
    with pytest.raises(InputError, match=r"modules\.json is cut short or damaged"):
        gene_vectors(text, encoder)
    (folder / "modules.json").unlink()
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="pickled weights only .*save_pretrained"):
        gene_vectors(text, encoder)
    (folder / "2_Dense" / "pytorch_model.bin").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="has no weights"):
        gene_vectors(text, encoder)


def test_hub_names(model, monkeypatch):
    folder, _ = model
    hub, asked = types.ModuleType("huggingface_hub"), []

    def snapshot_download(name, *, local_files_only=False, allow_patterns, ignore_patterns):
        asked.append(local_files_only)
        if name == "org/here":
            return str(folder)
        raise OSError("no network")

    hub.snapshot_download = snapshot_download
    hub.HfApi = lambda: types.SimpleNamespace(model_info=lambda *a, **k: None)
    hub.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert gene_vectors({"A": "x"}, "sentence:org/here").source == "sentence:org/here"
    assert asked == [True]
    with pytest.raises(InputError, match=r"'org/far' .*no network\).*copy its folder.*tfidf"):
        gene_vectors({"A": "x"}, "sentence:org/far")
    assert asked == [True, True, False]


def test_a_model_that_does_not_load_is_named(model):
    folder, fake = model

    def broken(self, *args, **kwargs):
        raise KeyError("hidden_size")

    fake.__init__ = broken
    with pytest.raises(InputError, match=r"sentence:model cannot be loaded \(KeyError.*hidden"):
        gene_vectors({"A": "x"}, f"sentence:{folder}")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Random transformers, an encoder and a causal one, with a tokenizer of whole words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch = pytest.importorskip("torch")
    words = ["[UNK]", "collagen", "chain", "keratin", "of", "A", "B", "C", ":", "[CLS]"]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    plain.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 9)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")
    sizes = {"vocab_size": 10, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2, "max_position_embeddings": 12}  # fmt: skip
    out = {}
    for kind, config, make in [
        ("encoder", transformers.BertConfig(**sizes), transformers.BertModel),
        ("causal", transformers.LlamaConfig(**sizes), transformers.LlamaModel),
    ]:
        torch.manual_seed(0)
        model = make(config).eval()
        folder = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        out[kind] = (folder, model, tokenizer)
    return out


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_states_equal_the_model_text_by_text(tiny, kind):
    import torch

    folder, model, tokenizer = tiny[kind]
    texts = {"A": "collagen chain", "C": "keratin of collagen of chain", "B": "chain " * 40}
    got = gene_vectors(texts, f"states:{folder}", tokens=True, batch_size=2, device="cpu")
    assert got.tokens.dtype == np.float16
    assert got.segment is None
    for i, (name, text) in enumerate(texts.items()):
        ids = tokenizer(f"{name}: {text.strip()}.", add_special_tokens=False)["input_ids"][:12]
        with torch.inference_mode():
            want = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        own = got.tokens[got.offsets[i] : got.offsets[i + 1]]
        np.testing.assert_allclose(own, want, atol=2e-3)
        np.testing.assert_allclose(got.x[i], want.mean(0), atol=1e-5)
    alone = gene_vectors(texts, f"states:{folder}", device="cpu")
    assert alone.tokens is None
    np.testing.assert_allclose(alone.x, got.x, atol=1e-6)  # PyTorch's last bit may move


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_states_of_segments_and_cache(tiny, tmp_path, monkeypatch):
    folder = tiny["encoder"][0]
    sources = {"A": "collagen chain", "B": "keratin", "C": "chain"}
    text = gene_text(["A|B", "C", "B", "A"], sources=sources)
    whole = gene_vectors(text, f"states:{folder}", tokens=True, device="cpu")
    parts = np.split(whole.tokens, whole.offsets[1:-1])
    np.testing.assert_allclose(parts[0], np.concatenate([parts[3], parts[2]]), atol=2e-3)
    assert whole.segment[: len(parts[0])].tolist() == [0] * 5 + [1] * 4
    monkeypatch.setattr(language, "BLOCK", 3)
    first = gene_vectors(text, f"states:{folder}", tokens=True, device="cpu", cache=tmp_path)
    same(first, gene_vectors(text, f"states:{folder}", tokens=True, device="cpu", cache=tmp_path))
    np.testing.assert_allclose(first.x, whole.x, atol=1e-6)
    np.testing.assert_array_equal(first.segment, whole.segment)


# ------------------------------------------------------------------ files of vectors

NAMES = ("A", "NA", "C")
X = np.arange(12, dtype=np.float32).reshape(3, 4) / 8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_own_files_come_back(tmp_path, planted):
    vectors = gene_vectors(planted, width=8, tokens=True)
    vectors.save(tmp_path / "v.safetensors")
    again = read_vectors(tmp_path / "v.safetensors")
    same(again, vectors)
    assert (again.source, again.notes) == (vectors.source, vectors.notes)
    some = read_vectors(tmp_path / "v.safetensors", genes=["g1_3", "g0_0"], name="mine")
    same(some, vectors.take(["g1_3", "g0_0"]))
    assert some.source == "mine"
    with pytest.raises(InputError, match=r"v\.safetensors: 1 of 2 genes have no vector"):
        read_vectors(tmp_path / "v.safetensors", genes=["g0_0", "nope"])


def write(kind, path):
    frame = pd.DataFrame(X, columns=[f"d{i}" for i in range(4)])
    if kind == "per gene":
        save_file(dict(zip(NAMES, X.astype(np.float16), strict=True)), str(path))
    elif kind == "metadata":
        save_file({"x": X}, str(path), {"names": json.dumps(NAMES)})
    elif kind == "beside":
        save_file({"x": X}, str(path))
        path.with_suffix(".json").write_text(json.dumps({"genes": NAMES}))
    elif kind == "list":
        lists = [json.dumps(row.tolist()) for row in X]
        pd.DataFrame({"gene_name": NAMES, "vector": lists}).to_csv(path)
    elif kind == "list.parquet":
        pd.DataFrame({"gene": NAMES, "v": list(X), "note": "x"}).to_parquet(path)
    elif kind == "index.parquet":
        frame.set_axis(NAMES).to_parquet(path)
    elif kind == "index":
        frame.set_axis(NAMES).to_csv(path, sep="\t")
    elif kind == "column":
        frame.assign(Symbol=NAMES, entrez=[1, 2, 3], ensembl="ENSG00000000003").to_csv(path)
    elif kind == "header":
        frame.insert(0, "whatever", NAMES)
        frame.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("per gene", "a.safetensors"), ("metadata", "a.safetensors"), ("beside", "a.safetensors"),
        ("list", "a.csv"), ("list.parquet", "a.parquet"), ("index.parquet", "a.parquet"),
        ("index", "a.tsv.gz"), ("column", "a.csv.gz"), ("header", "a.csv"),
    ],
)  # fmt: skip
def test_vectors_of_others(tmp_path, kind, file):
    if file.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    write(kind, tmp_path / file)
    got = read_vectors(tmp_path / file).take(NAMES)  # safetensors sorts its keys
    np.testing.assert_array_equal(got.x, X)
    assert got.x.dtype == np.float32
    assert got.source == file


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("gene,a,b\nA,1,2\nA,3,4\n", r"'A' is there twice"),
        ("gene,a,b\nA,1,2\nB,,4\n", r"not finite, 'B' first"),
        ("gene,a,b\nA,1,2\nB,3,4\nC,x,5\n", r"column 'a' has 'x' for 'C'"),
        ("gene,a\nA,word\n", "no columns of numbers"),
        ("gene,a\n", "no column"),
        ("a,b\n1,2\n", "no column of genes"),
        ('gene,v\nA,"[1, 2]"\nB,"[1, 2, 3]"\n', r"'B' has 3 numbers, 'A' has 2"),
        ('gene,v\nA,"[1, 2]"\nB,"[1 2]"\n', "vector of 'B' is no list"),
        ('gene,v\nA,"[1, 2]"\nB,7\n', "vector of 'B' is no list"),
        ('gene,v,w\nA,"[1, 2]","[1]"\n', "'v' and 'w' hold vectors"),
        ("", "is cut short or damaged"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, culprit):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=rf"a\.csv.*{culprit}"):
        read_vectors(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("tensors", "meta", "culprit"),
    [
        ({"A": X[0], "B": X[0, :3]}, None, "'B' has 3 numbers, 'A' has 4"),
        ({"A": X[0], "B": X}, None, "neither one array"),
        ({"x": X}, None, r"put a JSON list of names into a\.json"),
        ({"x": X}, {"names": '["A", "B"]'}, "2 names for an array"),
        ({"x": X}, {"names": '["A", "B"'}, "no JSON"),
        ({"x": X}, {"names": '["A", "B", "A"]'}, "'A' is there twice"),
        ({"A": X[0] * np.nan}, None, "not finite"),
        ({"x": X}, {"smalti": "{}"}, "of a version without a checksum"),
        ({"x": X}, {"smalti": '{"sha256": "0"}'}, "damaged"),
        ({"x": X}, {"smalti_genes": "{}"}, "damaged"),
    ],
)
def test_bad_tensors_are_named(tmp_path, tensors, meta, culprit):
    save_file(tensors, str(tmp_path / "a.safetensors"), meta)
    with pytest.raises(InputError, match=rf"a\.safetensors.*{culprit}"):
        read_vectors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.pt", "a.npy", "a.BIN"])
def test_pickles_are_never_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"never read; .*save_file"):
        read_vectors(tmp_path / name)


def test_other_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_vectors(tmp_path / "a.csv")
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match="none of"):
        read_vectors(tmp_path / "a.xlsx")
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="damaged"):
        read_vectors(tmp_path / "a.safetensors")


# ------------------------------------------------------------------ real text


@pytest.mark.data
@pytest.mark.slow  # seconds of real data
def test_real_text(data):
    folder = data / "gene_sets"
    text = gene_text(sources=[
        folder / "human_gene_descriptions.tsv.gz",
        folder / "enrichr.GO_Biological_Process_2021.gmt.gz",
        folder / "c2.cp.reactome.v7.0.symbols.gmt.gz",
    ])  # fmt: skip
    assert isinstance(text, GeneText)
    assert len(text) > 19_000
    vectors = gene_vectors(text, tokens=True)
    unit = vectors.x / np.maximum(np.linalg.norm(vectors.x, axis=1, keepdims=True), 1e-9)
    for a, b, most in [("HLA-A", "HLA-B", 5), ("COL1A1", "COL1A2", 5), ("CD3D", "CD3E", 20),
                       ("KRT5", "KRT14", 5), ("ERBB2", "EGFR", 5)]:  # fmt: skip
        i, j = vectors.positions([a, b])
        near = unit @ unit[i]
        assert (near > near[j]).sum() <= most  # itself is one of them
    assert (vectors.positions(["ENSG00000108821"]) == vectors.positions(["COL1A1"])).all()
