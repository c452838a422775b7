"""One file per recommender. A new one is a file here and a line in MODELS."""

from recsys.registry import Registry

MODELS = Registry(
    "model",
    "recsys.models",
    {
        "pop": "recsys.models.pop:Pop",
        "itemknn": "recsys.models.itemknn:ItemKNN",
        "contentknn": "recsys.models.contentknn:ContentKNN",
        "ease": "recsys.models.ease:EASE",
        "hyperwalk": "recsys.models.hyperwalk:HyperWalk",
        "bpr": "recsys.models.bpr:BPR",
        "lightgcn": "recsys.models.lightgcn:LightGCN",
        "vbpr": "recsys.models.vbpr:VBPR",
        "mmhcl": "recsys.models.mmhcl:MMHCL",
        "cm3": "recsys.models.cm3:CM3",
        "lattice": "recsys.models.lattice:LATTICE",
        "freedom": "recsys.models.freedom:FREEDOM",
        "bm3": "recsys.models.bm3:BM3",
        "mgcn": "recsys.models.mgcn:MGCN",
        "sige": "recsys.models.sige:SIGE",
        "confluence": "recsys.models.confluence:Confluence",
        "dropoutnet": "recsys.models.dropoutnet:DropoutNet",
        "clcrec": "recsys.models.clcrec:CLCRec",
        "aff": "recsys.models.aff:AFF",
        "lambdarank": "recsys.models.lambdarank:LambdaRank",
        "autorec": "recsys.models.autorec:AutoRec",
        "cooccurrence": "recsys.models.cooccurrence:Cooccurrence",
        "cooccurrence-content": "recsys.models.cooccurrence:CooccurrenceContent",
        "averaged": "recsys.models.averaged:Averaged",
        "multvae": "recsys.models.multvae:MultVAE",
        "transformer": "recsys.models.settransformer:SetTransformer",
        "clhe": "recsys.models.clhe:CLHE",
        "clhe-signals": "recsys.models.clhe_signals:CLHESignals",
    },
    families={"recbole": "recsys.models.recbole:recbole_model"},
)
