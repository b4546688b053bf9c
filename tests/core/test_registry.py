"""The door for other people's methods: what is registered, what is refused, what is loaded."""

import gc
import importlib
import json
import sys
import warnings
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest

import smalti as sm
from smalti.core import registry
from smalti.core.save import digest_of
from smalti.datasets import planted_bags, planted_modalities
from smalti.errors import InputError
from smalti.expression.gene_mean import GeneMean
from smalti.integrate.block_pca import BlockPCA
from smalti.mil.bag_mean import BagMean

# a module of a user's own, which registers nothing by itself
MINE = """
from typing import ClassVar
from smalti.mil.bag_mean import BagMean

class Mine(BagMean):
    '''A mean.'''
    name: ClassVar[str] = "mine"
    reference: ClassVar[str] = "me"

class Other(BagMean):
    '''Another.'''
    name: ClassVar[str] = "{other}"

class NoName(BagMean):
    '''A mean without a name.'''
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A session in which nothing was registered, and no package is installed that brings any."""
    monkeypatch.setattr(registry, "_session", {})
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(registry, "_points", tuple)


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    """What was there before is not looked at again: only classes of these tests are to go."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write and import a module; forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def write(name, text=MINE, other="other"):
        (tmp_path / f"{name}.py").write_text(text.replace("{other}", other))
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)
    gc.collect()


def points(monkeypatch, *values):
    found = tuple(EntryPoint(f"e{i}", v, registry.GROUP) for i, v in enumerate(values))
    monkeypatch.setattr(registry, "_points", lambda: found)


# ---------------------------------------------------------------- register


def test_a_class_that_is_merely_defined_is_no_method(module):
    module("notes")
    assert "mine" not in sm.methods()
    with pytest.raises(InputError, match="no method 'mine'"):
        sm.make("mine")


def test_a_registered_class_is_a_method_of_the_room_of_its_base(module):
    mine = sm.register(module("notes").Mine)
    assert sm.methods()["mine"] is mine
    assert isinstance(sm.make("mine"), mine)
    assert registry.known("mine").source == "this session"

    @sm.register
    class Codes(BlockPCA):
        name: ClassVar[str] = "codes"

    @sm.register
    class Genes(GeneMean):
        name: ClassVar[str] = "genes_mine"

    assert sm.methods("integrate")["codes"] is Codes
    assert sm.methods("expression")["genes_mine"] is Genes
    assert set(sm.methods()) & {"codes", "genes_mine"} == set()
    assert list(sm.methods()) == sorted(sm.methods())
    assert "Mine" not in dir(sm.mil)  # smalti.mil.Mine is not there


def test_it_runs_in_a_comparison_by_its_name(module, majority_alone):
    sm.register(module("notes").Mine)
    table = sm.compare(["mine"], planted_bags(20), folds=2, repeats=1, progress=False).summary()
    assert "mine" in table.reset_index().astype(str).to_numpy()


def test_what_is_refused(module):
    notes = module("notes", other="abmil")
    with pytest.raises(InputError, match="'abmil' is the name of another method.*ABMIL"):
        sm.register(notes.Other)
    with pytest.raises(InputError, match="NoName has no name of its own"):
        sm.register(notes.NoName)  # it inherits "bag_mean"
    for thing in (int, notes.Mine(), "mine", sm.Bags):
        with pytest.raises(InputError, match=r"no method: subclass smalti\.Method"):
            sm.register(thing)
    with pytest.raises(InputError, match="Method has no name of its own"):
        sm.register(sm.Method)
    with pytest.raises(InputError, match="colon"):
        sm.register(type("Odd", (BagMean,), {"name": "mine:fast"}))
    sm.register(notes.Mine)
    with pytest.raises(InputError, match="'mine' is the name of another method.*notes:Mine"):
        sm.register(type("Twin", (BagMean,), {"name": "mine"}))
    assert sm.methods()["mine"] is notes.Mine


def test_registering_again_replaces(module):
    first = sm.register(module("notes").Mine)
    sys.modules.pop("notes")
    again = sm.register(module("notes").Mine)
    assert first is not again
    assert sm.methods()["mine"] is again
    sys.modules.pop("notes")
    renamed = sm.register(module("notes", MINE.replace('"mine"', '"yours"')).Mine)
    assert "mine" not in sm.methods()  # one class has one name
    assert sm.methods()["yours"] is renamed


def test_registering_smaltis_own_changes_nothing():
    assert sm.register(BagMean) is BagMean
    assert registry.known("bag_mean").package == "smalti"
    assert registry._session == {}


# ---------------------------------------------------------------- entry points


def test_entry_points_name_classes_and_modules(module, monkeypatch):
    notes = module("notes")
    points(monkeypatch, "notes:Mine")
    assert sm.methods()["mine"] is notes.Mine
    assert "other" not in sm.methods()
    points(monkeypatch, "notes")  # BagMean, which it imports, stays smalti's own
    assert sm.methods()["other"] is notes.Other
    assert registry.known("bag_mean").package == "smalti"
    assert sm.register(notes.Mine) is notes.Mine


@pytest.mark.parametrize(("value", "reason"), [
    ("not_there_at_all:X", "ModuleNotFoundError.*not_there_at_all"),
    ("notes:NotThere", "AttributeError.*NotThere"),
    ("notes:NoName", "no name of its own"),
    ("notes:ClassVar", "is no method"),
    ("json", "no method in it"),
    ("taken:Other", "'abmil' is the name of another method"),
    ("broken:X", "SyntaxError"),
])  # fmt: skip
def test_a_package_that_fails_is_one_warning(module, monkeypatch, tmp_path, value, reason):
    module("notes")
    module("taken", other="abmil")
    (tmp_path / "broken.py").write_text("def (:")
    points(monkeypatch, value, "notes:Mine")
    with pytest.warns(UserWarning, match=f"(?s){value.partition(':')[0]}.*{reason}") as caught:
        found = sm.methods()
    assert len(caught) == 1
    assert "mine" in found  # the others are not held up
    assert found["abmil"] is sm.mil.ABMIL
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "mine" in sm.methods()  # once


def test_a_package_may_register_what_its_entry_point_names(module, monkeypatch):
    points(monkeypatch, "both:Both")
    text = """
import smalti as sm
from typing import ClassVar

@sm.register
class Both(sm.mil.BagMean):
    name: ClassVar[str] = "both"
"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = module("both", text)  # imported by the user, before anything asks for methods
        assert sm.methods()["both"] is both.Both
    assert registry.known("both").package == "both"


# ---------------------------------------------------------------- save and load


def model_of(cls):
    return cls().set_params(progress=False).fit(planted_bags(20))


def forget(name):
    registry._session.clear()
    sys.modules.pop(name, None)


def test_a_model_that_could_not_be_loaded_is_not_saved(module, tmp_path):
    notes = module("notes")
    for cls in (notes.Mine, notes.NoName):
        with pytest.raises(InputError, match=rf"{cls.__name__} could not be.*@sm\.register"):
            model_of(cls).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_registered_method_is_loaded_where_it_is_registered(module, tmp_path):
    notes = module("notes")
    model = model_of(sm.register(notes.Mine))
    model.save(tmp_path / "model")
    note = json.loads((tmp_path / "model" / "model.json").read_text())
    assert note["needs"] == [
        {"method": "mine", "class": "notes:Mine", "package": "", "version": ""}
    ]
    bags = planted_bags(9, seed=1)
    np.testing.assert_array_equal(sm.load(tmp_path / "model").predict(bags), model.predict(bags))
    forget("notes")
    with pytest.raises(InputError, match="notes:Mine.*not known here.*register it"):
        sm.load(tmp_path / "model")
    assert "notes" not in sys.modules  # what a file names is not imported
    sm.register(module("notes").Mine)
    assert type(sm.load(tmp_path / "model")) is sys.modules["notes"].Mine


def test_a_model_of_the_class_before_the_cell_was_run_again_is_saved(module, tmp_path):
    model = model_of(sm.register(module("notes").Mine))
    sys.modules.pop("notes")
    again = sm.register(module("notes").Mine)
    model.save(tmp_path / "model")
    assert type(sm.load(tmp_path / "model")) is again


def test_a_caller_may_allow_a_class(module, tmp_path):
    model_of(sm.register(module("notes").Mine)).save(tmp_path / "model")
    module("innocent", other="innocent")
    forget("notes")
    forget("innocent")
    with pytest.raises(InputError, match="notes:Mine.*allowed: innocent:Other"):
        sm.load(tmp_path / "model", allow="innocent:Other")
    assert not {"notes", "innocent"} & set(sys.modules)  # refused before anything was imported
    for wrong in ("notes", ":Mine", "notes:"):
        with pytest.raises(InputError, match="not known here"):
            sm.load(tmp_path / "model", allow=wrong)
        with pytest.raises(InputError, match="is not of the form"):
            sm.load(tmp_path / "model", allow=["notes:Mine", wrong])
        forget("notes")
    with pytest.raises(InputError, match="not_there:X.*cannot be imported"):
        sm.load(tmp_path / "model", allow=["not_there:X", "notes:Mine"])
    with pytest.raises(InputError, match="cannot be imported.*NotThere"):
        sm.load(tmp_path / "model", allow=["notes:NotThere", "notes:Mine"])
    loaded = sm.load(tmp_path / "model", allow="notes:Mine")
    assert type(loaded) is sys.modules["notes"].Mine
    assert "mine" in sm.methods()
    assert type(sm.load(tmp_path / "model", allow=["notes:Mine"])) is type(loaded)


def test_another_class_of_that_name_is_told_apart(module, tmp_path):
    model_of(sm.register(module("notes").Mine)).save(tmp_path / "model")
    forget("notes")
    sm.register(module("moved").Mine)
    with pytest.warns(UserWarning, match="saved by notes:Mine.*known here is moved:Mine"):
        sm.load(tmp_path / "model")
    with pytest.raises(InputError, match="'mine' is the name of another method"):
        sm.load(tmp_path / "model", allow="notes:Mine")


def rewrite(folder, change):
    """Change a note, and its checksum with it, as whoever made the file could."""
    path = folder / "model.json"
    note = json.loads(path.read_text())
    note.pop("note_sha256")
    change(note)
    note["note_sha256"] = digest_of(note)
    path.write_text(json.dumps(note))


def test_files_without_needs_are_loaded_and_odd_needs_are_refused(tmp_path):
    model = model_of(BagMean)
    model.save(tmp_path / "model")
    rewrite(tmp_path / "model", lambda note: note.pop("needs"))  # as older versions wrote it
    assert isinstance(sm.load(tmp_path / "model"), BagMean)
    for odd in (3, ["os:system"], [{"method": "x"}], {"a": 1}):
        rewrite(tmp_path / "model", lambda note, odd=odd: note.update(needs=odd))
        with pytest.raises(InputError, match="damaged"):
            sm.load(tmp_path / "model")
    need = {"method": "evil", "class": "this:Zen", "package": "", "version": ""}
    rewrite(tmp_path / "model", lambda note: note.update(method="evil", needs=[need]))
    with pytest.raises(InputError, match="this:Zen"):
        sm.load(tmp_path / "model")
    rewrite(tmp_path / "model", lambda note: note.update(needs=[]))
    with pytest.raises(InputError, match="no method 'evil'"):
        sm.load(tmp_path / "model")
    assert "this" not in sys.modules


CODES = """
from typing import ClassVar
from smalti.integrate.block_pca import BlockPCA

class Codes(BlockPCA):
    '''Codes.'''
    name: ClassVar[str] = "codes"
"""


def test_methods_inside_a_step_obey_the_same_rule(module, tmp_path):
    codes = module("codes_of_mine", CODES).Codes
    bags = planted_modalities(60, counts=True, n_bags=12)
    bag = bags.bag.assign(y=np.arange(12) % 2)
    bags = sm.Bags.from_rows(dict(bags.x), bags.index, y=bag["y"].to_numpy()[bags.index])
    step = sm.integrate.Embed(codes(width=3))
    model = BagMean(preprocess=step).set_params(progress=False).fit(bags)
    with pytest.raises(InputError, match="Codes could not be loaded"):
        model.save(tmp_path / "model")
    sm.register(codes)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(sm.load(tmp_path / "model").predict(bags), model.predict(bags))
    forget("codes_of_mine")
    with pytest.raises(InputError, match="needs method 'codes', the class codes_of_mine:Codes"):
        sm.load(tmp_path / "model")
    loaded = sm.load(tmp_path / "model", allow="codes_of_mine:Codes")
    np.testing.assert_array_equal(loaded.predict(bags), model.predict(bags))


GENES = """
from typing import ClassVar
from smalti.expression.ridge import Ridge

class Mine(Ridge):
    '''Ridge.'''
    name: ClassVar[str] = "my_ridge"
    baseline: ClassVar[bool] = False
"""


@pytest.mark.parametrize("by_name", [True, False])
def test_members_of_an_ensemble_obey_the_same_rule(module, tmp_path, by_name):
    from smalti.datasets import planted_slides

    cls = module("genes_of_mine", GENES).Mine
    slides = planted_slides(3, 16, n_genes=8, size=32)
    if by_name:
        sm.register(cls)
    members = ("gene_mean", "my_ridge" if by_name else cls(alpha=1.0))
    model = sm.make("ensemble", members=members, progress=False).fit(slides)
    if not by_name:
        with pytest.raises(InputError, match="Mine could not be loaded"):
            model.save(tmp_path / "model")
        sm.register(cls)
    model.save(tmp_path / "model")
    forget("genes_of_mine")
    with pytest.raises(InputError, match="'my_ridge', the class genes_of_mine:Mine"):
        sm.load(tmp_path / "model")
    loaded = sm.load(tmp_path / "model", allow="genes_of_mine:Mine")
    np.testing.assert_array_equal(loaded.predict(slides), model.predict(slides))
