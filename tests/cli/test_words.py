"""What the command line says names options, and what the package recommends can be said there."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import smalti
import smalti as sm
from smalti.cli import app
from smalti.cli.words import ALSO, Verb, in_options, settings, tell
from smalti.io.tissue_files import write_tissue

ROOT = Path(smalti.__file__).parent


def leaves(group, names=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


VERBS = dict(leaves(get_command(app)))


def options(verb):
    """Names of the options of a verb, as the functions have them."""
    names = {p.name for p in VERBS[verb].params}
    return names | {there for there, here in ALSO.items() if here in names}


def test_every_verb_says_its_options():
    assert len(VERBS) == 23
    assert [name for name, command in VERBS.items() if not isinstance(command, Verb)] == []


@pytest.mark.parametrize(
    ("verb", "said", "words"),
    [("compare", "say kind='ordinal' or order=['a', 'b c'].",
      "say --kind ordinal or --order 'a,b c'."),
     ("compare", "name it (label=, donor=...), donor='bag'",
      "name it (--label, --donor ...), --donor bag"),
     ("fit", "no target: name it (label=, target= or y=).", "no target: name it (--label)."),
     ("compare", "x={'one': 'X', 'b': 'obsm/B'}, folds=3: no",
      "--x one=X,b=obsm/B, --folds 3: no"),
     ("fit", "more epochs=, or a higher lr=, or lr=1e-05",
      "more --epochs, or a higher --set lr=..., or --set lr=1e-05"),
     ("fit", "such as preprocess='genes=2000,pca=50'", "such as --preprocess genes=2000,pca=50"),
     ("fit", "normalize,log1p,genes=2000 makes", "normalize,log1p,genes=2000 makes"),
     ("fit", "covariates=('age', 'sex')", "--covariate age --covariate sex"),
     ("compare", "n_jobs=0: no", "--jobs 0: no"),
     ("fit", "name one with key=. Or leave x= out", "name one with --key. Or leave --x out"),
     ("integrate", "key_added='NAME', overwrite=True", "--key-added NAME, --overwrite"),
     ("genes vectors", "sources= or tokens=False", "--text or --no-words"),
     ("predict", "no column; name it with group=...", "no column; name it with --cell-type ..."),
     ("predict", "more epochs=, nothing=3", "more epochs=, nothing=3"),
     ("fit", "--set lr=fast, 'x=3', runs/lr=0.1/a.h5ad, n == 3, a.x=2",
      "--set lr=fast, 'x=3', runs/lr=0.1/a.h5ad, n == 3, a.x=2"),
     ("expression fit", "xy='spatial' or xy=('x', 'y'), images={'A1': 'FILE'}",
      "--xy spatial or --xy x,y, --images A1=FILE")],
)  # fmt: skip
def test_arguments_become_options(verb, said, words):
    assert in_options(said, VERBS[verb].params) == words


def test_what_the_user_typed_stays():
    said = "no file lr=0.1.h5ad: more epochs="
    params = VERBS["fit"].params
    assert in_options(said, params, ["lr=0.1.h5ad"]) == "no file lr=0.1.h5ad: more --epochs"


def test_outside_a_verb_notes_are_as_they_are(capsys):
    tell("more epochs=")
    assert capsys.readouterr().err == "note: more epochs=\n"


# ---------------------------------------------------------------- what errors recommend

# arguments of functions and steps that no verb stands for
PYTHON_ONLY = {
    "bag", "instance",  # tables of Bags
    "batch_effect", "confounder", "driver_type", "effect", "margin", "n_bags", "n_classes",
    "n_features", "separation", "split", "std_length", "witness_rate", "strength",
    "batches", "shared", "unique", "alone", "n_donors", "n_sites", "unequal",  # simulated data
    "channel", "channels", "layer", "pad", "p",  # pictures
    "scale", "side_px", "source", "threshold",  # nuclei of one's own
    "n_context", "radius", "similarity",  # parts that networks are built of
    "copy",  # of a table in memory
    "device",  # of a language model
    "downsample",  # of a layer over a slide
    "clr", "cofactor", "depth", "lsi", "min_cells", "count_genes",  # steps: --preprocess
    "resolution", "upstream", "view",  # of clusters; of genes on peaks
    "name",  # of a class of one's own
    "as_batch",  # of a reconstruction
    "like", "test",  # of bags in a loop of PyTorch
    "of", "steps",  # of attributions to features
    "prevalence", "sensitivity", "times",  # of a table of scores
    "cv",  # of a search of scikit-learn
}  # fmt: skip
NO_ARGUMENTS = {"net", "pretrained", "safe_serialization"}  # of code in other packages


@cache
def texts():
    """Every text of the package that is no docstring, with its place; values are left out."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith("cli/"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        nodes = list(ast.walk(tree))
        skipped = {id(n.value) for n in nodes if isinstance(n, ast.Expr)}
        skipped |= {id(v) for n in nodes if isinstance(n, ast.JoinedStr) for v in n.values}
        for node in nodes:
            if id(node) in skipped:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "''" for v in node.values]
                found.append((where, "".join(parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((where, node.value))
    return found


def recommended(text):
    """Names of the arguments that a text names; tags of HTML have none."""
    text = re.sub(r"</?[a-z][^>]*>", " ", text)
    return set(re.findall(r"(?<![\w,/\\'\"`.{\[-])([a-z]\w*)=(?!=)", text))


def test_every_argument_that_a_text_names_is_known():
    known = set().union(*(options(verb) for verb in VERBS)) | settings() | PYTHON_ONLY
    named = [(where, name, text) for where, text in texts() for name in recommended(text)]
    assert len(named) > 200
    assert [n for n in named if n[1] not in known | NO_ARGUMENTS] == []
    assert (PYTHON_ONLY | NO_ARGUMENTS) - {name for _, name, _ in named} == set()


def test_no_text_of_the_package_names_an_option():
    """It may be read in Python; the command line says its own words."""
    assert [(w, t) for w, t in texts() if re.search(r"(?<![\w-])--[a-z]", t)] == []


# ---------------------------------------------------------------- signatures

BAR = {"progress"}  # shown on a terminal, by itself
READ = {"data", "columns", "layer"}  # columns: all are kept; layer: said by --x
SITE = {"site"}  # of comparisons
PLACES = {"slides", "patches", "tile_px", "um_per_px"}  # where tiles lie: of smalti heatmap
FOLDER = {"folder", "in_memory", *PLACES}  # in_memory: read at once, a matter of speed
BAGS = {"X"}
WRITE = {"data", "scores", "copy"}  # scores, copy: tables in memory
SLIDES = {
    "source",
    "label",
    "kind",
    "positive",
    "order",
    "table",
    "quality",
}  # no targets of slides
TILES = {"folder", "table", "label", "kind", "positive", "order"}
EXTRACT = {"bags", "tiles", "precision", "device", "batch_size", "seed"}  # speed; random weights
MODEL_SAYS = {"tile_um", "tile_px", "size", "encoder", "weights", "flips", "dense"}  # a fitted one

STANDS_FOR = [
    ("fit", sm.read, READ | SITE),
    ("fit", sm.read_features, FOLDER | SITE),
    ("fit", sm.Method.fit, {*BAGS, "y"}),
    ("predict", sm.read, {*READ, *SITE, "label", "kind", "positive", "order", "bag_columns",
                          "kinds"}),
    ("predict", sm.read_features, {*FOLDER, *SITE, "label", "kind", "positive", "order"}),
    ("arrange", sm.arrange, {*BAR}),
    ("cells", sm.read_slides, {*SLIDES, *SITE, "donor", *BAR}),  # table: --labels
    ("cells", sm.features.extract, {*EXTRACT, *BAR}),
    ("cells", sm.features.neighbours, {"bags", "view", "k"}),  # k: --neighbours
    ("heatmap", sm.read_features, {
        "folder", "in_memory", "labels", "label", "id", "sample", "donor", "site", "kind",
        "positive", "order", "absent",
    }),
    ("heatmap", sm.Method.heatmap, {*BAGS, "slide", "cut"}),
    ("predict", sm.load, {"folder"}),
    ("predict", sm.Method.predict, BAGS),
    ("predict", sm.Method.attribute, BAGS),
    ("predict", sm.Method.samples, BAGS),
    ("predict", sm.Method.write, {*WRITE, "label"}),
    ("compare", sm.read, READ),
    ("compare", sm.read_features, FOLDER - PLACES),
    ("compare", sm.compare, {"candidates", "bags", "attributions", *BAR}),  # kept with --slides
    ("compare", sm.compare_integration, {"candidates", "bags", *BAR}),
    ("audit", sm.read, READ),
    ("audit", sm.read_features, {"folder", "in_memory", "slides"}),  # no pictures are looked at
    ("audit", sm.audit, {"bags", "methods", "splits"}),  # it has no candidates
    ("integrate", sm.read, {*READ, *SITE, "sample", "label", "donor", "kind", "positive", "order",
                            "cell_type", "bag_columns", "labels", "id"}),  # a cell is a bag
    ("integrate", sm.load, {"folder"}),
    ("integrate", sm.Integration.fit, {*BAGS, "y"}),
    ("integrate", sm.Integration.transform, BAGS),
    ("integrate", sm.Integration.embed, BAGS),
    ("integrate", sm.Integration.write, {"data", "copy"}),
    # k, folds, per_label: of who writes Python; false_alarm is said when cells are labelled
    ("integrate", sm.Annotator, {"k", "folds", "per_label", "false_alarm"}),
    ("annotate", sm.read, {*READ, *SITE, "label", "donor", "kind", "positive", "order", "kinds",
                           "cell_type", "bag_columns", "labels", "id"}),
    ("annotate", sm.load, {"folder"}),
    ("annotate", sm.Annotator.annotate, BAGS),
    ("annotate", sm.Annotator.write, {"data", "bags", "found", "copy"}),
    ("expression fit", sm.read_slides, {*SLIDES, *SITE, *BAR}),
    ("expression fit", sm.read_tiles, TILES | SITE),
    ("expression fit", sm.tiles.normalized, {"bags", "tiles"}),
    ("expression fit", sm.features.extract, {*EXTRACT, *BAR}),
    ("expression fit", sm.ExpressionMethod.fit, {*BAGS, "y"}),
    ("expression predict", sm.read_slides, {*SLIDES, *SITE, *MODEL_SAYS, *BAR}),
    ("expression predict", sm.read_tiles, {*TILES, *SITE, *MODEL_SAYS}),
    ("expression predict", sm.features.extract, {*EXTRACT, *MODEL_SAYS, *BAR}),
    ("expression predict", sm.load, {"folder"}),
    ("expression predict", sm.ExpressionMethod.predict, BAGS),
    # pictures: always there
    ("expression predict", sm.ExpressionMethod.to_anndata, {*BAGS, "pictures"}),
    ("expression predict", sm.ExpressionMethod.write, {"data", "X", "copy"}),
    ("expression compare", sm.read_slides, {*SLIDES, *BAR}),
    ("expression compare", sm.read_tiles, TILES),
    ("expression compare", sm.features.extract, {*EXTRACT, *BAR}),
    ("expression compare", sm.compare_expression, {
        "candidates", "slides", "view", *BAR}),  # view: the verb makes one
    ("expression predictable", sm.expression.predictable, {"bags", "view", "units"}),  # views: --x
    ("expression screen", sm.features.screen_backbones, {
        "bags", "encoders", "units", "extraction"}),
    ("genes activity", sm.genes.gene_activity, {"bags", "name"}),  # name: it is X of a table
    ("genes explore", sm.genes.explore, {"bags", "view", "units"}),
    ("genes vectors", sm.genes.gene_text, {"client"}),  # an object
    ("genes vectors", sm.genes.gene_vectors, {"device", "batch_size", *BAR}),  # speed
    ("features", sm.features.write, {"batch_size", "seed", *BAR}),  # speed; random weights
    ("tissue", write_tissue, {"source", *BAR}),
    ("demo", sm.datasets.digit_bags, {"n_bags", "split", "kwargs"}),
    ("cite", sm.citation, {"methods"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "function", "without"), STANDS_FOR, ids=lambda v: getattr(v, "__qualname__", None)
)
def test_each_argument_is_an_option(verb, function, without):
    asked = set(inspect.signature(function).parameters) - {"self", "out"}
    assert asked - options(verb) - without == set()
    assert without - asked - MODEL_SAYS == set(), "a reason for what is not there"


def test_every_verb_is_in_the_table():
    others = {"methods", "doctor"}  # they take nothing
    assert {verb for verb, *_ in STANDS_FOR} | others == set(VERBS)
    assert all(not VERBS[verb].params for verb in others)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_an_option_is_short(verb):
    for p in VERBS[verb].params:
        if not isinstance(p, typer.core.TyperArgument):
            assert len(p.help or "") <= 170, p.name
            assert p.help or p.name == "help", p.name
