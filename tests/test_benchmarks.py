"""Each script of benchmarks/ runs, at the size of a toy: what it prints is of no interest here."""

import importlib.util
import os
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
NOT_RUN = {
    "peers": "read by rows of bench.py",
    "bench_page": "drawn below",
    "slide_methods_page": "drawn by slide_methods",
    "torchmil_models": "read by slide_methods",
    "killed": "takes minutes, and real cohorts",
    "multimil_peer": "needs an environment of Python 3.12",
    "patpy_peer": "needs an environment of its own",
}
TOYS = [
    "intervals --cohorts 2 --donors 20 --samples 1 3 --effects middle",
    "intervals --part power --cohorts 2 --donors 20",
    "annotation --set sim --methods block_pca --cells 300 --seeds 1",
    "annotation --set state --methods block_pca --cells 300 --seeds 1 --folds 2",
    "annotation --set citeseq --methods block_pca --cells 600 --seeds 1 --folds 2 --unseen",
    "chain --images 12 --spots 4 --folds 2 --repeats 1",
    "atac --toy",
    "atac --toy --together scores.csv",
    "audit --part copies --repeats 1 --cells 10",
    "audit --part fitted --repeats 1 --cells 20",
    "audit --part names --repeats 1 --cells 10",
    "audit --part tiles",
    "audit --part clean --repeats 2 --cells 10",
    "audit --part gated --repeats 1 --cells 6",
    "audit --part integrations --repeats 1",
    "audit --part real",
    "audit --part speed --repeats 1 --cells 1",
    "batches --set her2st --seeds 1 --cells 200 --only nothing --corrections none",
    "batches --seeds 1 --cells 120 --only umint --corrections none scaled",
    "bilinear_grid --slides 2 --tiles 12 --features 20 --genes 30 --width 5 --grid 6 --repeats 1",
    "contributions --seeds 1 --cells 100 --only block_pca",
    "cohorts --set melanoma --repeats 1 --methods mixture_class --jobs 1",
    "classical --sets musk1 --repeats 1 --folds 2 --methods mifv --cache runs",
    "classical --sets musk1 --repeats 1 --folds 2 --picked",
    "defaults --seeds 1 --sizes 6 --most 60",
    "drivers --methods bag_mean --seeds 1",
    "encoders --seeds 2 --bags 8 --tiles 4",
    "explanations --blind 2",
    "explanations --donors 12 --folds 2 --methods abmil",
    "gene_graph --genes 50 --k 3 --width 16 --repeats 1",
    "gene_loss covariance --tiles 8 --genes 30 --repeats 2",
    "gene_loss groups --tiles 8 --genes 100 --repeats 2",
    "gene_loss exact --tiles 8 --genes 30",
    "gene_maps --spots 4",
    "glas --net --repeats 1 --images 12 --folds 2 --epochs 1",
    "glas --scales --images 12 --folds 2 --sides 2",
    "glas --images 20 --folds 2 --repeats 1 --views colour",
    "her2st --genes 20 --only knn --seeds 1 --spots 3",
    "heatmaps --px 1200 --side 100 --kinds png geojson ome-tiff html",
    "integration --cells 300 --methods block_pca",
    "key_groups --cohorts 4",
    "sites --cohorts 2",
    "pairs --part coverage --cohorts 2",
    "pairs --cohorts 2 --planted 2 --refits 1 --only 4_pairs",
    "morphology_parts --tiles 2 --spots 4 --images 20 --rows 2",
    "mixmil_simulation --seeds 1 --epochs 2 --bags 50 --tolerance 0.1",
    "mnist_bags --sizes 20 --seeds 1 --methods abmil --tests 20 --epochs 1",
    "modalities --set tied:0.5 two --group halves --only aligned --seeds 1 --cells 200",
    "modalities --set snare --group widths --only block_pca --seeds 1",
    "modality_prediction --set tied --seeds 1 --cells 200 --only block_pca",
    "block_order --quality --data cohort --cells 600 --seeds 1 --runs 2 --buffers 2",
    "block_order --speed --kind dense --cells 2000 --seconds 1",
    "out_of_core --folder files --kind sparse --cells 2000 --keep",
    "out_of_core --folder files --kind dense --cells 2000",
    "workers --cells 3000 --width 5 --workers 1",
    "weighted_neighbors --cells 120 --alone",
    "proportions --seeds 2 --methods bag_mean --patients 20 --cells 20",
    "scale --methods bag_mean --cells 1000 2000",
    "learning --cohorts 1 --donors 20",
    "page --donors 12 --cells 20 --features 4",
    "pyramid --px 4096 --tiles 4 --rounds 1 --map-side 1000",
    "search --cohorts 1 --donors 20 --methods bag_mean --effects middle --trials 2",
    "segments --shapes 50x300 --rounds 3",
    "segments --rows 1000",
    "write_back --cells 200 --genes 20 --rounds 1",
    "survival --seeds 1 --nulls 0 --donors 24 --epochs 2",
    "slide_epoch epoch --slides 4 --tiles 30 --width 8 --rounds 1 --batch 2 --cases f2-rows",
    "slide_epoch metadata --slides 8 --tiles 20",
    "slide_epoch cohort --slides 8 --tiles 20 --width 4 --jobs 1",
    "slide_parity --sizes 50 --rounds 1 --width 16",
    "slide_methods scores --sets planted --bags 16 --folds 2 --repeats 1 --epochs 1 --methods clam "
    "--cache runs --out kept.json",
    "slide_methods time --bags 3 --tiles 10 --width 4 --rounds 1 --methods clam --out kept.json",
    "slide_methods logits --out kept.json",
    "slide_methods page --out kept.json",
    "slides --px 400 --side 100 --file flat",
    "step --rounds 1 --epochs 1 --share 0.2",
    "step --large --rounds 1 --share 0.02",
    "mixmil_roofline --rounds 1 --repeats 1",
    "startup --rounds 1 --only sm.read",
    "bench --list",
    "bench ors cloudpred mixmil --share 0.02 --rounds 1 --out bench.json --peers absent",
    "bench lsi --growth --share 0.02 --rounds 1 --out bench.json",
    "standardize --seeds 2 --patients 8 --tests 8 --cells 40 --methods mean_pooling",
    "tile_features --tiles 2 --batch 2 --repeats 1 --encoders resnet18",
    "tissue --side 100 --seeds 1",
    "unseen_scale --methods bilinear --share 0.01 --repeats 1",
    "zero_shot --vectors coexpression --genes 785 --group controls --only nearest --spots 6",
    "zero_shot --vectors coexpression --genes 785 --group switches --epochs 1 --seeds 1 --spots 6",
]
REAL = {"chain", "classical", "cohorts", "gene_maps", "glas", "her2st", "mnist_bags", "zero_shot",
        "modalities --set snare", "audit --part real", "annotation --set citeseq",
        "batches --set her2st", "morphology_parts"}  # fmt: skip
PACKAGES = {
    "chain": "timm",
    "glas": "timm",
    "tile_features": "timm",
    "encoders": "timm",
    "morphology_parts": "skimage",
    "her2st": "timm",
    "gene_maps": "timm",
    "pyramid": "openslide",
    "slides": "tifffile",
    "heatmaps": "tifffile",
    "tissue": "skimage",
}


def test_every_script_has_a_toy():
    assert {t.split()[0] for t in TOYS} == {p.stem for p in FOLDER.glob("*.py")} - set(NOT_RUN)


@pytest.mark.slow  # each loads packages and fits, some in processes of their own
@pytest.mark.parametrize("toy", TOYS, ids=lambda t: t.replace(" ", "_")[:40])
@pytest.mark.filterwarnings("ignore")
def test_it_runs(toy, tmp_path, monkeypatch, capsys):
    name, *args = toy.split()
    if any(toy.startswith(real) for real in REAL) and not os.environ.get("SMALTI_DATA"):
        pytest.skip(f"{name}.py reads real data: set SMALTI_DATA to its folder")
    package = PACKAGES.get(name, "numpy")
    if importlib.util.find_spec(package) is None:  # importing timm has to wait for our shim
        pytest.skip(f"{name}.py needs {package}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [str(FOLDER / f"{name}.py"), *args])
    for other in FOLDER.glob("*.py"):
        monkeypatch.delitem(sys.modules, other.stem, raising=False)
    with patch.dict(os.environ):  # a script is its own process, and may tell it what it has
        importlib.import_module(name).main()
    assert "Error" not in capsys.readouterr().out


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("bench")


def measured(**more):
    row = {"name": "ors", "share": 1, "work": "a score", "peer": "loops", "goal": 5, "note": "",
           "seconds": {"smalti": [1.0, 2.0, 4.0], "peer": [10.0, 10.0, 10.0]},
           "peaks": {"smalti": 0.5, "peer": 1.5},
           "rates": {"float32": 1e9, "float64": 5e8, "memory": 1e10},
           "least": {"float32": 5e8, "float64": 2.5e8}}  # fmt: skip
    return row | more


def test_a_row_of_the_bench_has_its_ratio_and_its_limit(bench):
    assert bench.cells(measured()) == [
        "a score", "2 (1 to 4)", "loops", "10 (10 to 10)", "**5.0x** (2.5 to 10.0)", "5x, met", "1",
        "50%", "0.50 / 1.50",
    ]  # fmt: skip
    absent = measured(seconds={"smalti": [1.0]}, version="fast", note="it is not installed")
    assert bench.cells(absent)[2:6] == ["fast, loops", "it is not installed", "", "5x"]
    assert "3 (3 to 3)" in bench.cells(measured(seconds={"smalti": [3.0]}, least={}, limit=1.5))
    assert bench.cells(measured(seconds={}, note="smalti: broke"))[1] == "smalti: broke"


def test_a_script_of_its_own_is_a_row(bench, tmp_path, monkeypatch):
    script = tmp_path / "own.py"
    script.write_text("import json, sys\n"
                      "json.dump({'smalti': [2, 3], 'peer': [4, 6], 'limit': 1, 'peaks': [0.1]}, "
                      "open(sys.argv[2], 'w'))")  # fmt: skip
    monkeypatch.setattr(bench, "HERE", tmp_path)
    row = measured(least={}) | bench.of_script("own.py --json {file}")
    assert bench.cells(row)[1:8] == ["2.5 (2 to 3)", "loops", "5 (4 to 6)", "**2.0x** (2.0 to 2.0)",
                                     "5x, missed", "1", "40%"]  # fmt: skip
    assert "nothing.py" in bench.of_script("nothing.py")["note"]


def test_every_row_says_what_it_is(bench):
    for name in bench.ROWS:
        row = bench.load(name)
        assert row.WORK
        if not hasattr(row, "SCRIPT"):
            assert callable(row.data) and callable(row.smalti)  # noqa: PT018
        assert hasattr(row, "PEER") == (hasattr(row, "peer") or hasattr(row, "SCRIPT"))


def test_the_page_of_the_bench_is_drawn(bench, tmp_path):
    from bench_page import write_page

    machine = {"cpu": "one", "cores": 2, "disk": 1e9, "day": "2026-01-01"}
    grown = [measured(share=s) for s, _ in bench.load("ors").SIZES]
    kept = {"machine": machine, "rows": [measured()], "growth": grown}
    write_page(kept, tmp_path)
    page = (tmp_path / "bench.md").read_text()
    assert f"| {bench.load('ors').WORK} | 2 (1 to 4) |" in page
    assert "float32 1 GFLOP/s" in page
    assert (tmp_path / "bench-growth.svg").exists()
