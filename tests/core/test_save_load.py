"""Model files, images, attributions and linear baselines against independent references."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

import smalti as sm
from smalti import mil
from smalti.datasets import digit_bags, planted_bags
from smalti.errors import InputError
from smalti.nn.linear import fit_head
from smalti.task import Task


@pytest.fixture
def saved(tmp_path):
    bags = planted_bags(20)
    model = mil.ABMIL.example().set_params(epochs=2, progress=False).fit(bags)
    model.save(tmp_path / "model")
    return tmp_path / "model", model, bags


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_truncated_model_file_is_named(saved, name):
    folder, *_ = saved
    whole = (folder / name).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"{name}.*damaged"):
            sm.load(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_flipped_byte_is_found_wherever_it_is(saved, name):
    folder, *_ = saved
    whole = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 40):
        broken = bytearray(whole)
        broken[at] ^= 1 + int(rng.integers(255))
        (folder / name).write_bytes(bytes(broken))
        try:
            sm.load(folder)
        except InputError as error:
            assert name in str(error)
        else:  # white space in JSON means nothing
            assert name == "model.json"
            assert json.loads(bytes(broken)) == json.loads(whole)


def test_a_pickle_is_never_opened(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('opened')",))

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="not a smalti model"):
        sm.load(path)
    folder, *_ = saved
    (folder / "weights.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="damaged"):
        sm.load(folder)


def test_an_unwritable_folder_leaves_nothing(saved, tmp_path):
    _, model, _ = saved
    block = tmp_path / "file"
    block.write_text("here")
    with pytest.raises(InputError, match="cannot write|is a file"):
        model.save(block / "model")
    with pytest.raises(InputError, match="is a file"):
        model.save(block)
    assert block.read_text() == "here"


def test_saving_over_a_model_replaces_it_whole(saved, monkeypatch):
    folder, model, bags = saved
    before = model.predict_proba(bags)
    other = mil.BagMean().fit(bags)

    def dies(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("json.dumps", dies)
    with pytest.raises(KeyboardInterrupt):
        other.save(folder)
    monkeypatch.undo()
    np.testing.assert_array_equal(sm.load(folder).predict_proba(bags), before)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    other.save(folder)
    assert isinstance(sm.load(folder), mil.BagMean)


def named_bags():
    bags = planted_bags(20)
    frame = pd.DataFrame(bags.table(), columns=[f"g{j}" for j in range(8)])
    make = lambda f: sm.Bags.from_rows(f, bags.bag.index[bags.index],  # noqa: E731
                                       y=bags.labels[bags.index])  # fmt: skip
    return frame, make


def test_features_in_another_order_are_put_right():
    frame, make = named_bags()
    model = mil.BagMean().fit(make(frame))
    mixed = make(frame[list(reversed(frame.columns))])
    np.testing.assert_array_equal(model.predict_proba(mixed), model.predict_proba(make(frame)))
    wider = make(frame.assign(extra=1.0))
    np.testing.assert_array_equal(model.predict_proba(wider), model.predict_proba(make(frame)))


def test_missing_features_are_named():
    frame, make = named_bags()
    model = mil.BagMean().fit(make(frame))
    with pytest.raises(InputError, match="2 of the 8 features.*g3, g5"):
        model.predict(make(frame.drop(columns=["g3", "g5"])))
    with pytest.raises(InputError, match="7 features.*expecting 8"):
        model.predict(sm.Bags.from_list([np.zeros((2, 7))]))


@pytest.mark.slow  # what is learned is of the contract; images, below
def test_images_are_learned_and_the_nines_found():
    train, test = digit_bags(100, seed=1), digit_bags(100, split="test", seed=2)
    model = mil.ABMIL(gated=True, epochs=20, lr=2e-3, progress=False).fit(train)
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(test.labels, model.predict_proba(test)[:, 1]) > 0.85
    frame = model.attribute(test)
    inside = test.labels[test.index] == 1
    nines = test.instance["key"].to_numpy()
    assert roc_auc_score(nines[inside], frame["attention"][inside]) > 0.85


def test_histology_encoder_takes_colour_tiles():
    rng = np.random.default_rng(0)
    bags = sm.Bags.from_list([rng.random((3, 3, 32, 32)).astype("f4") for _ in range(6)],
                             [0, 1] * 3)  # fmt: skip
    model = mil.MeanPooling(epochs=1, progress=False).fit(bags)
    assert model.network_.encoder[0][0].out_channels == 36
    assert model.transform(bags).shape == (6, 512)


def test_unsigned_bytes_are_read_as_they_are():
    rng = np.random.default_rng(0)
    raw = [rng.integers(0, 255, (3, 1, 8, 8)).astype(np.uint8) for _ in range(8)]
    as_bytes = sm.Bags.from_list(raw, [0, 1] * 4)
    as_float = sm.Bags.from_list([r.astype("f4") for r in raw], [0, 1] * 4)
    one = mil.MeanPooling(epochs=2, progress=False).fit(as_bytes).forward(as_bytes)[0]
    two = mil.MeanPooling(epochs=2, progress=False).fit(as_float).forward(as_float)[0]
    np.testing.assert_allclose(one, two, atol=1e-6)


# ---------------------------------------------------------------- linear baselines


@pytest.mark.parametrize("shape", [(60, 5), (30, 80)], ids=["tall", "wide"])
def test_linear_head_is_sklearns_logistic_regression(shape):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=shape), np.arange(shape[0]) % 2
    task = Task(kind="binary", classes=(0, 1))
    head = task.head(shape[1]).double()
    fit_head(head, z, y, np.ones(len(y)), task, 0.1)
    known = LogisticRegression(C=1 / (len(y) * 0.1), tol=1e-10, max_iter=5000).fit(z, y)
    np.testing.assert_allclose(head.weight.detach().numpy(), known.coef_, atol=1e-4)
    np.testing.assert_allclose(head.bias.detach().numpy(), known.intercept_, atol=1e-4)


@pytest.mark.parametrize("shape", [(60, 5), (30, 80)], ids=["tall", "wide"])
def test_linear_head_is_sklearns_ridge(shape):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=shape), rng.normal(size=shape[0])
    task = Task(kind="regression")
    head = task.head(shape[1]).double()
    fit_head(head, z, y, np.ones(len(y)), task, 0.1)
    known = Ridge(alpha=0.1 * len(y)).fit(z, y)
    np.testing.assert_allclose(head.weight.detach().numpy()[0], known.coef_, atol=1e-8)
    np.testing.assert_allclose(head.bias.item(), known.intercept_, atol=1e-8)


def test_ordinal_head_is_at_a_minimum_and_orders_its_classes():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 3))
    y = np.digitize(z[:, 0] + 0.3 * rng.normal(size=200), [-0.5, 0.7])
    task = Task(kind="ordinal", classes=(0, 1, 2))
    head = task.head(3).double()
    best = fit_head(head, z, y, np.ones(200), task, 1e-3)
    for _ in range(5):
        again = task.head(3).double()
        assert fit_head(again, z, y, np.ones(200), task, 1e-3) == pytest.approx(best, abs=1e-6)
    import torch

    assert (task.decide(head(torch.as_tensor(z)).detach().numpy()) == y).mean() > 0.8


def test_fisher_vector_is_the_gradient_of_the_log_likelihood():
    """miFV's features against autograd through the mixture's log density."""
    import torch

    bags = planted_bags(12)
    model = mil.MiFV(components=2, variance=1.0).fit(bags)
    net = model.network_.double()
    x = torch.as_tensor(bags[[3]].table(), dtype=torch.float64)
    z = (x - net.mean) @ net.axes
    means = net.means.clone().requires_grad_()
    sd = net.variances.sqrt().clone().requires_grad_()
    log_p = (-0.5 * ((z[:, None] - means) / sd) ** 2 - sd.log()).sum(2)
    (net.weights.log() + log_p).logsumexp(1).mean().backward()
    w = net.weights[:, None].sqrt()
    parts = []
    for k in range(2):
        parts += [(means.grad * sd / w)[k], (sd.grad * sd / (w * 2**0.5))[k]]
    expected = torch.cat(parts).detach()
    expected = expected.sign() * expected.abs().sqrt()
    expected = expected / expected.norm()
    got = torch.as_tensor(model.set_params(precision="64-true").transform(bags[[3]])[0])
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_a_small_fold_does_not_change_the_kind_of_the_target():
    """25 distinct integers are a regression; 15 of them alone would be classes."""
    rng = np.random.default_rng(0)
    bags = sm.Bags.from_list([rng.normal(size=(3, 2)) for _ in range(25)], np.arange(25))
    (model,) = sm.fit_many([(mil.BagMean(), np.arange(15))], bags)
    assert model.task_.kind == "regression"


@pytest.mark.parametrize("positive", ["case", "ctrl"])
def test_a_loaded_model_has_the_same_positive_class(positive, tmp_path):
    bags = planted_bags(20)
    bags = bags.with_target(np.array(["ctrl", "case"])[bags.labels], positive=positive)
    model = mil.BagMean().fit(bags)
    model.save(tmp_path / "model")
    back = sm.load(tmp_path / "model")
    assert back.task_.positive == positive
    assert back.classes_.tolist() == ["case", "ctrl"]
    np.testing.assert_array_equal(back.predict_proba(bags), model.predict_proba(bags))
    assert list(back.attribute(bags)) == ["bag", f"contribution_{positive}"]


def test_classes_of_an_older_file_stay_as_they_stand(tmp_path):
    """Before there was a rule the last in the alphabet was positive, whatever it meant."""
    bags = planted_bags(20)
    bags = bags.with_target(np.array(["ctrl", "case"])[bags.labels], positive="ctrl")
    mil.BagMean().fit(bags).save(tmp_path / "model")
    note = json.loads((tmp_path / "model" / "model.json").read_text())
    assert note["task"]["classes"] == ["case", "ctrl"]  # all that an older file says
    assert sm.load(tmp_path / "model").task_.positive == "ctrl"
