"""What a method does where nothing is said: papers and simulations chose it, so no slip may."""

import pytest

import smalti as sm
from smalti.batch import Shape
from smalti.mil.base import NetworkMethod
from smalti.task import Task

ALL = {
    "accelerator": "auto", "class_weight": None, "devices": 1, "precision": "32-true",
    "views": None, "preprocess": None, "progress": None, "seed": 0, "task": None,
    "survival": None, "strata": None,
}  # fmt: skip
NETWORK = {
    "batch_size": 32, "dropout": 0.5, "encoder": "auto", "epochs": 100, "lr": 1e-3,
    "max_instances": 200_000, "momentum": 0.9, "optimizer": "adam", "patience": 20,
    "standardize": True, "validation": 0.0, "weight_decay": 1e-4, "widths": (256, 128, 64),
}  # fmt: skip
MIXTURES = {"centers": (5, 10, 15, 20, 25), "folds": 5, "ridge": 1e-4, "temper": "squash"}
OWN = {
    "abmil": {"attention_width": 64, "gated": False},
    "acmil": {
        "attention_width": 64, "branches": 5, "gated": True, "mask_rate": 0.6, "masked": 10,
    },
    "additive_mil": {"attention_width": 64, "gated": False, "hidden": 64},
    "bag_mean": {"covariates": ()},
    "bag_statistics": {},
    "clam": {
        "attention_width": 64, "bag_weight": 0.7, "branches": "single", "gated": True, "sampled": 8,
    },
    "cloudpred": {
        "batch_size": 1, "centers": (5, 10, 15, 20, 25), "em_rounds": 100, "folds": 5,
        "joint": True, "lr": 1e-4, "max_cells": 100_000, "optimizer": "sgd",
        "standardize": False, "starts": 3, "weight_decay": 0.0,
    },
    "covariates": {"covariates": ()},
    "dtfd": {
        "attention_width": 128, "distil": "afs", "dropout": 0.0, "epochs": 200, "gated": True,
        "lr": 1e-4, "pseudo_bags": 4, "widths": (512,),
    },
    "dsmil": {"query_width": 128},
    "hier_mil": {
        "batch_size": 1024, "cell_attention": True, "covariates": (), "dropout": 0.3,
        "epochs": 500, "group": "cell_type", "type_attention": True, "weight_decay": 1e-3,
        "widths": (64,),
    },
    "majority": {},
    "max_pooling": {},
    "mean_pooling": {},
    "mi_graph": {
        "costs": (0.1, 1.0, 10.0, 100.0), "folds": 5, "gammas": (0.25, 1.0, 4.0, 16.0, 64.0),
        "max_instances": 10_000, "standardize": True,
    },
    "mi_net": {"pool": "max"},
    "mi_net_ds": {"pool": "max"},
    "mifv": {"components": 2, "max_instances": 50_000, "variance": 0.9},
    "mixmil": {
        "batch_size": 64, "covariates": (), "donor_intercept": False, "draws": 8, "epochs": 2000,
        "posterior": "full", "tolerance": 0.0, "weight_decay": 0.0,
    },
    "mixture_class": MIXTURES | {"max_cells": 50_000},
    "mixture_patient": MIXTURES | {"max_cells": 5000},
    "protocell4p": {
        "batch_size": 4, "covariates": (), "d_min": 1.0, "dropout": 0.0, "epochs": 75,
        "group": None, "latent": 32, "lr": 1e-4, "n_prototypes": 8, "output": "auto",
        "pretrain": True, "pretrain_epochs": 50, "pretrain_lr": 1e-2, "scorer": True,
        "standardize": False, "subsample": True, "weight_decay": 0.0, "widths": (128, 128),
    } | {f"lambda{i}": 1.0 for i in range(1, 7)},
    "pseudobulk": {"target_sum": 1e4},
    "scrat": {
        "alpha": 0.5, "augment": 300, "batch_size": 16, "covariates": (), "draw": 500, "draws": 1,
        "dropout": 0.3,
        "embed": "linear", "group": "cell_type", "heads": 8, "hidden": 256, "inter_only": False,
        "lr": 3e-3, "mix": "different", "pool": 10_000, "predict_draws": 50, "width": 128,
    },
    "transmil": {
        "batch_size": 1, "by_place": True, "dropout": 0.1, "heads": 8, "iterations": 6,
        "landmarks": 256, "lr": 2e-4, "max_instances": 20_000, "reach": 33, "weight_decay": 1e-5,
        "widths": (512,),
    },
    "type_composition": {"group": "cell_type", "log_ratio": True},
    "type_pseudobulk": {"group": "cell_type"},
}  # fmt: skip
STAGES = {  # as the history and the progress bar call them
    "bag_mean": ["linear"],
    "bag_statistics": ["linear"],
    "cloudpred": ["scale", "centers", "mixture", "linear", "joint"],
    "covariates": ["linear"],
    "majority": ["linear"],
    "mi_graph": ["standardize", "machine"],
    "mifv": ["mixture", "linear"],
    "mixmil": ["standardize", "mean model", "train", "effects"],
    "mixture_class": ["scale", "mixtures"],
    "mixture_patient": ["scale", "mixtures"],
    "protocell4p": ["output", "pretrain", "train"],
    "pseudobulk": ["counts", "linear"],
    "scrat": ["standardize", "lengths", "train"],
    "type_composition": ["linear"],
    "type_pseudobulk": ["typical", "linear"],
}
METHODS = {n: m for n, m in sm.methods().items() if m.__module__.startswith("smalti.")}


def test_every_method_is_here():
    assert sorted(METHODS) == sorted(OWN)


@pytest.mark.parametrize("name", METHODS)
def test_defaults(name):
    cls = METHODS[name]
    shared = ALL | (NETWORK if issubclass(cls, NetworkMethod) else {})
    assert cls().get_params(deep=False) == shared | OWN[name]


@pytest.mark.parametrize("name", METHODS)
def test_stages(name):
    shape = Shape({"x": (4,)}, Task.infer([0, 1]), 20, levels=("a", "b"))
    found = [stage.name for stage in METHODS[name]().plan(shape)]
    assert found == STAGES.get(name, ["standardize", "train"])
