"""Two modalities to a code: the fast preset against factor analysis."""

WORK = "umint:fast: code of 2,000 cells x (2,000 genes + 25 proteins), standardised"
PEER, NEEDS, GOAL, ROUNDS = "MOFA+ of 15 factors", "mofapy2", 10, 1
SIZES = ((1, "2,000 cells"), (5, "10,000"), (15, "30,000"), (50, "100,000"))
WARM = 0.1


def data(share):
    import numpy as np

    rng, n = np.random.default_rng(0), max(200, int(2000 * share))
    z = rng.standard_normal((n, 8), dtype=np.float32)
    tables = [z @ rng.standard_normal((8, d), dtype=np.float32) for d in (2000, 25)]
    return [t + 3 * rng.standard_normal(t.shape, dtype=np.float32) for t in tables]


def smalti(rna, protein):
    import numpy as np

    import smalti as sm

    bags = sm.Bags.from_rows({"rna": rna, "protein": protein}, np.arange(len(rna)) * 10 // len(rna))
    model = sm.make("umint:fast", preprocess=None, accelerator="cpu", progress=False)

    def run():
        model.fit_transform(bags)

    return run


def peer(rna, protein):
    from mofapy2.run.entry_point import entry_point

    tables = [[((t - t.mean(0)) / t.std(0)).astype(float)] for t in (rna, protein)]
    names = [[f"view{i}_{j}" for j in range(t.shape[1])] for i, (t,) in enumerate(tables)]

    def run():
        model = entry_point()
        model.set_data_options(scale_views=False)
        model.set_data_matrix(
            [[t.copy()] for (t,) in tables],  # it writes into what it is given
            likelihoods=["gaussian"] * 2, views_names=["view0", "view1"],
            groups_names=["cells"], samples_names=[[str(i) for i in range(len(rna))]],
            features_names=list(names),
        )  # fmt: skip
        model.set_model_options(factors=15, spikeslab_weights=True, ard_weights=True)
        model.set_train_options(iter=1000, convergence_mode="fast", seed=0, quiet=True)
        model.build()
        model.run()

    return run
