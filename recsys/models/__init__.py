"""One file per recommender. A new one is a file here and a line in MODELS."""

from typing import Any

from recsys.registry import Registry


def _is_model(part: Any) -> bool:
    from recsys.models.base import Model  # torch, which a list of names does without

    return isinstance(part, type) and issubclass(part, Model)


MODELS = Registry(
    "model",
    "recsys.models",
    {
        "pop": "recsys.models.closed_form.pop:Pop",
        "itemknn": "recsys.models.closed_form.itemknn:ItemKNN",
        "contentknn": "recsys.models.closed_form.contentknn:ContentKNN",
        "contentridge": "recsys.models.closed_form.contentridge:ContentRidge",
        "ease": "recsys.models.closed_form.ease:EASE",
        "ease-sparse": "recsys.models.closed_form.ease_sparse:SparseEASE",
        "wmf": "recsys.models.closed_form.wmf:WMF",
        "hyperwalk": "recsys.models.closed_form.hyperwalk:HyperWalk",
        "bpr": "recsys.models.collaborative.bpr:BPR",
        "lightgcn": "recsys.models.collaborative.lightgcn:LightGCN",
        "simgcl": "recsys.models.collaborative.simgcl:SimGCL",
        "vbpr": "recsys.models.multimodal.vbpr:VBPR",
        "mmhcl": "recsys.models.multimodal.mmhcl:MMHCL",
        "cm3": "recsys.models.multimodal.cm3:CM3",
        "lattice": "recsys.models.multimodal.lattice:LATTICE",
        "freedom": "recsys.models.multimodal.freedom:FREEDOM",
        "bm3": "recsys.models.multimodal.bm3:BM3",
        "mgcn": "recsys.models.multimodal.mgcn:MGCN",
        "sige": "recsys.models.multimodal.sige:SIGE",
        "multistage": "recsys.models.multistage:Multistage",
        "confluence": "recsys.models.confluence:Confluence",
        "student": "recsys.models.student:Student",
        "dropoutnet": "recsys.models.cold_start.dropoutnet:DropoutNet",
        "clcrec": "recsys.models.cold_start.clcrec:CLCRec",
        "twotower": "recsys.models.cold_start.twotower:TwoTower",
        "aff": "recsys.models.cold_start.aff:AFF",
        "lambdarank": "recsys.models.cold_start.lambdarank:LambdaRank",
        "autorec": "recsys.models.collaborative.autorec:AutoRec",
        "cooccurrence": "recsys.models.bundle.cooccurrence:Cooccurrence",
        "cooccurrence-content": "recsys.models.bundle.cooccurrence:CooccurrenceContent",
        "averaged": "recsys.models.bundle.averaged:Averaged",
        "multvae": "recsys.models.bundle.multvae:MultVAE",
        "transformer": "recsys.models.bundle.settransformer:SetTransformer",
        "clhe": "recsys.models.bundle.clhe:CLHE",
        "clhe-signals": "recsys.models.bundle.clhe_signals:CLHESignals",
    },
    families={"recbole": "recsys.models.recbole.bridge:recbole_model"},
    accepts=_is_model,
    expected="a subclass of recsys.models.base.Model",
)
