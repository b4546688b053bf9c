"""Steps before a method, fitted on the training bags: normalise, log, genes, scale, PCA.

Each step is a scikit-learn transformer that takes ``Bags`` and gives ``Bags``, so that it may stand
in a ``Pipeline``; or in a method's own ``preprocess``, where it is saved with the model. Fitted
inside a fold, it never sees a test patient.

A short text names a sequence of them, ``"normalize,log1p,genes=2000,scale,pca=50"``; a mapping
gives each view its own, ``{"rna": "normalize,log1p,genes=2000", "protein": "clr"}``. Which views a
method for bags reads, ``views=`` of it says: several stand side by side (:class:`Join`).
"""

from smalti.counts import count_problem
from smalti.preprocess.antibodies import DropControls, controls, is_hashtag, is_isotype
from smalti.preprocess.batches import ComBat, Harmony, ScaleBatch
from smalti.preprocess.components import PCA, MinMax, Scale
from smalti.preprocess.cytometry import Arcsinh
from smalti.preprocess.dsb import DSB
from smalti.preprocess.genes import GenesOfCounts, Log1p, MinCells, Normalize, SelectGenes
from smalti.preprocess.join import Join
from smalti.preprocess.lsi import LSI
from smalti.preprocess.modalities import (
    KINDS,
    Modality,
    check_kinds,
    given_modalities,
    guess_steps,
    kind_of,
    modalities,
    with_findings,
)
from smalti.preprocess.omics import CLR, TFIDF, Top
from smalti.preprocess.on import On
from smalti.preprocess.sequence import (
    apply_steps,
    at_hand,
    by_company,
    fit_steps,
    from_state,
    names_of,
    spec_of,
    spec_text,
    state_of,
    steps_of,
)
from smalti.preprocess.sites import SiteComBat, TransductiveSiteComBat
from smalti.preprocess.step import Step, cells_per_bag_note
from smalti.preprocess.trace import Trace

__all__ = [
    "CLR",
    "DSB",
    "KINDS",
    "LSI",
    "PCA",
    "TFIDF",
    "Arcsinh",
    "ComBat",
    "DropControls",
    "GenesOfCounts",
    "Harmony",
    "Join",
    "Log1p",
    "MinCells",
    "MinMax",
    "Modality",
    "Normalize",
    "On",
    "Scale",
    "ScaleBatch",
    "SelectGenes",
    "SiteComBat",
    "Step",
    "Top",
    "Trace",
    "TransductiveSiteComBat",
    "apply_steps",
    "at_hand",
    "by_company",
    "cells_per_bag_note",
    "check_kinds",
    "controls",
    "count_problem",
    "fit_steps",
    "from_state",
    "given_modalities",
    "guess_steps",
    "is_hashtag",
    "is_isotype",
    "kind_of",
    "modalities",
    "names_of",
    "spec_of",
    "spec_text",
    "state_of",
    "steps_of",
    "with_findings",
]  # fmt: skip
