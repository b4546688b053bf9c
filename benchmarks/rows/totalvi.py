"""An epoch of the two networks that are trained on RNA and proteins."""

WORK = "umint: 2 epochs of 4,000 cells x (2,000 genes + 25 proteins)"
PEER, NEEDS, ROUNDS = "2 epochs of totalVI", "scvi-tools", 3
EPOCHS = 2


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(200, int(4000 * share))
    rate = np.exp(rng.normal(-2, 1, 2000))
    return rng.poisson(rate, (n, 2000)).astype(np.float32), rng.poisson(8, (n, 25))


def smalti(rna, protein):
    import numpy as np

    import smalti as sm

    views = {"rna": np.log1p(rna), "protein": np.log1p(protein).astype(np.float32)}
    bags = sm.Bags.from_rows(views, np.arange(len(rna)) * 10 // len(rna))

    def fit(epochs):
        sm.integrate.UMINT(epochs=epochs, preprocess=None, accelerator="cpu",
                           progress=False).fit(bags)  # fmt: skip

    return lambda: fit(EPOCHS + 1), lambda: fit(1)


def peer(rna, protein):
    from peers import mend_torchvision

    mend_torchvision()
    import anndata
    import scvi

    table = anndata.AnnData(rna)
    table.obsm["protein"] = protein
    scvi.model.TOTALVI.setup_anndata(table, protein_expression_obsm_key="protein")

    def fit(epochs):
        scvi.model.TOTALVI(table).train(
            max_epochs=epochs, accelerator="cpu", early_stopping=False,
            enable_progress_bar=False,
        )  # fmt: skip

    return lambda: fit(EPOCHS + 1), lambda: fit(1)
