"""Latent semantic indexing of peaks."""

WORK = "LSI: 50 components of 5,000 cells x 20,000 peaks, 3 % open"
PEER, NEEDS, ROUNDS = "TF-IDF and LSI", "muon", 3
PEAKS, WIDTH = 20_000, 50
SIZES = ((0.5, "2,500 cells"), (1, "5,000"), (2, "10,000"), (4, "20,000"))


def data(share):
    import numpy as np
    import scipy.sparse as sp

    rng, n = np.random.default_rng(0), max(200, int(5000 * share))
    rate = 0.03 * np.exp(rng.normal(0, 1, (8, PEAKS)))
    rows = [np.flatnonzero(rng.random(PEAKS) < rate[i % 8] * rng.uniform(0.3, 1)) for i in range(n)]
    ends = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    ones = np.ones(ends[-1], dtype=np.float32)
    return (sp.csr_matrix((ones, np.concatenate(rows), ends), shape=(n, PEAKS)),)


def smalti(counts):
    import numpy as np

    import smalti as sm

    bags = sm.Bags.from_rows({"atac": counts}, np.arange(counts.shape[0]))
    return lambda: sm.preprocess.LSI(n=WIDTH).fit(bags).transform(bags).table().shape[0] and None


def peer(counts):
    import anndata
    from muon import atac

    def run():
        table = anndata.AnnData(counts.copy())
        atac.pp.tfidf(table, scale_factor=1e4)
        atac.tl.lsi(table, n_comps=WIDTH)

    return run
