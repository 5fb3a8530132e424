"""The built-in plugins. They come in through the entry point `lwa.v1`, like anyone else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lwa_core import Component, hookimpl

if TYPE_CHECKING:
    from lwa_core import Event, RunContext


@hookimpl
def lwa_datasets() -> list[Component[Any]]:
    at = "lwa_plugins.datasets"
    return [
        Component("synthetic", f"{at}.synthetic:Synthetic"),
        Component("movielens", f"{at}.movielens:MovieLens", reference="Harper & Konstan 2015, The MovieLens Datasets"),
        Component("sequences", f"{at}.sequences:Sequences", reference="Kang & McAuley 2018; Zhou et al. 2020 (S3-Rec)"),
        Component("atomic", f"{at}.atomic:Atomic", reference="Zhao et al. 2021, RecBole"),
        Component(
            "reviews",
            f"{at}.reviews:Reviews",
            version=2,
            reference="McAuley et al. 2015; Ni et al. 2019; Hou et al. 2024",
        ),
        Component("table", f"{at}.table:Table", version=2),
        Component("ready-made-split", f"{at}.ready_made_split:ReadyMadeSplit"),
    ]


@hookimpl
def lwa_recommenders() -> list[Component[Any]]:
    at = "lwa_plugins.recommenders"
    return [
        Component(
            "sequential",
            f"{at}.sequential:Sequential",
            version=3,
            reference="Kang & McAuley 2018, SASRec; Klenitskiy & Vasilev 2023 for the full cross-entropy; "
            "Petrov & Macdonald 2023, gSASRec, for gbce; Sun et al. 2019, BERT4Rec, for masked items; "
            "Zhai et al. 2024, HSTU, for times",
        ),
        Component(
            "backbone",
            f"{at}.backbone:Backbone",
            reference="Li et al. 2023, E4SRec; Sun et al. 2019, BERT4Rec, for masked items",
        ),
        Component(
            "transitions",
            f"{at}.transitions:TransitionTableRecommender",
            reference="arXiv 2605.07125, the untrained heuristic, without its longer hops",
        ),
        Component("text", f"{at}.text:Text", reference="Hou et al. 2022, UniSRec; Chen et al. 2024, HLLM"),
    ]


@hookimpl
def lwa_scorers() -> list[Component[Any]]:
    at = "lwa_plugins.scorers"
    return [
        Component(
            "fisher",
            f"{at}.fisher:Fisher",
            reference="Theis et al. 2018, Faster gaze prediction with dense networks and Fisher pruning; "
            "Kunstner, Hennig & Balles 2019 for what the empirical Fisher is",
        ),
        Component("true-fisher", f"{at}.true_fisher:TrueFisher", reference="Martens 2020; Kunstner et al. 2019"),
        Component(
            "fisher-saliency",
            f"{at}.fisher_saliency:FisherSaliency",
            reference="LeCun et al. 1990, Optimal brain damage; Theis et al. 2018",
        ),
        Component(
            "kfac-trace", f"{at}.kfac_trace:KfacTrace", reference="Martens & Grosse 2015; Eschenhagen et al. 2023"
        ),
        Component("gate-taylor", f"{at}.gate_taylor:GateTaylor", reference="Molchanov et al. 2019"),
        Component("gate-fisher", f"{at}.gate_fisher:GateFisher", reference="Molchanov et al. 2019; Theis et al. 2018"),
        Component(
            "weight-taylor",
            f"{at}.weight_taylor:WeightTaylor",
            reference="Molchanov et al. 2017; Lee et al. 2019, SNIP",
        ),
        Component("block-influence", f"{at}.block_influence:BlockInfluence", reference="Men et al. 2024, ShortGPT"),
        Component("angular", f"{at}.angular:Angular", reference="Gromov et al. 2024"),
        Component("norm-ratio", f"{at}.norm_ratio:NormRatio"),
        Component("cka", f"{at}.cka:Cka", reference="Kornblith et al. 2019; Song et al. 2012; Nguyen et al. 2021"),
        Component(
            "linear-probe",
            f"{at}.linear_probe:LinearProbe",
            reference="Alain & Bengio 2016; Xu et al. 2020; Hewitt & Liang 2019",
        ),
        Component("info-nce", f"{at}.info_nce:InfoNce", reference="van den Oord et al. 2018; Poole et al. 2019"),
        Component(
            "attention-entropy",
            f"{at}.attention_entropy:AttentionEntropy",
            reference="Voita et al. 2019; Jain & Wallace 2019",
        ),
        Component("leave-one-out", f"{at}.leave_one_out:LeaveOneOut", reference="Veit et al. 2016"),
        Component("greedy-order", f"{at}.greedy_order:GreedyOrder", reference="Song et al. 2024, SLEB"),
        Component(
            "shapley",
            f"{at}.shapley:Shapley",
            version=2,
            reference="Shapley 1953; Castro et al. 2009; Mitchell et al. 2022",
        ),
        Component("banzhaf", f"{at}.banzhaf:Banzhaf", reference="Banzhaf 1965; Wang & Jia 2023, Data Banzhaf"),
        Component(
            "kernel-shap",
            f"{at}.kernel_shap:KernelShap",
            reference="Lundberg & Lee 2017; Covert & Lee 2021, Improving KernelSHAP",
        ),
        Component(
            "logit-lens",
            f"{at}.logit_lens:LogitLens",
            reference="nostalgebraist 2020, interpreting GPT: the logit lens; Belrose et al. 2023, the tuned lens",
        ),
        Component(
            "gate-path",
            f"{at}.gate_path:GatePath",
            reference="Aumann & Shapley 1974, Values of non-atomic games; Sundararajan et al. 2017",
        ),
        Component(
            "conductance",
            f"{at}.conductance:Conductance",
            reference="Dhamdhere et al. 2019, How important is a neuron; Sundararajan et al. 2017",
        ),
        Component(
            "hutchinson",
            f"{at}.hutchinson:Hutchinson",
            reference="Hutchinson 1990; Yao et al. 2020, PyHessian; Dong et al. 2020, HAWQ-V2",
        ),
        Component(
            "laplace",
            f"{at}.laplace:Laplace",
            reference="MacKay 1992; Daxberger et al. 2021, Laplace redux; Immer et al. 2021; Houlsby et al. 2011",
        ),
        Component("first-last", f"{at}.first_last:FirstLast", reference="Gromov et al. 2024"),
        Component("last-first", f"{at}.last_first:LastFirst"),
        Component("weight-magnitude", f"{at}.weight_magnitude:WeightMagnitude", reference="Han et al. 2015"),
        Component("random", f"{at}.random:Random"),
        Component("borda", f"{at}.borda:Borda", reference="Borda 1781; Dwork et al. 2001, Rank aggregation methods"),
        Component(
            "robust-rank-aggregation",
            f"{at}.robust_rank_aggregation:RobustRankAggregation",
            reference="Kolde et al. 2012, Robust rank aggregation for gene list integration and meta-analysis",
        ),
    ]


@hookimpl
def lwa_selectors() -> list[Component[Any]]:
    at = "lwa_plugins.selectors"
    return [
        Component("top-k", f"{at}.top_k:TopK"),
        Component("uniform", f"{at}.uniform:Uniform", reference="Sanh et al. 2019, DistilBERT; Sajjad et al. 2023"),
        Component("random", f"{at}.random:Random"),
        Component("budget", f"{at}.budget:Budget"),
        Component("greedy", f"{at}.greedy:Greedy", reference="Song et al. 2024, SLEB"),
        Component("beam", f"{at}.beam:Beam", reference="Song et al. 2024, SLEB, with the beam of Lowerre 1976, HARPY"),
        Component("exact", f"{at}.exact:Exact"),
        Component(
            "gate-qubo",
            f"{at}.gate_qubo:GateQubo",
            reference="Kwon et al. 2022, A fast post-training pruning framework for transformers (there for heads and "
            "neurons); Hassibi & Stork 1993, Optimal brain surgeon",
        ),
        Component(
            "evolution",
            f"{at}.evolution:Evolution",
            reference="Sieberling et al. 2025, EvoPress: accurate dynamic model compression via evolutionary search",
        ),
        Component(
            "contiguous",
            f"{at}.contiguous:Contiguous",
            reference="Gromov et al. 2024, The unreasonable ineffectiveness of the deeper layers",
        ),
    ]


@hookimpl
def lwa_compressors() -> list[Component[Any]]:
    at = "lwa_plugins.compressors"
    return [
        Component("drop", f"{at}.drop:Drop", reference="Sajjad et al. 2023"),
        Component(
            "distill",
            f"{at}.distill:Distill",
            reference="Hinton et al. 2015; Romero et al. 2015, FitNets; Sanh et al. 2019, DistilBERT",
        ),
        Component("fine-tune", f"{at}.fine_tune:FineTune", reference="Sajjad et al. 2023"),
        Component(
            "patch",
            f"{at}.patch:Patch",
            reference="Shopkhoev et al. 2025, ReplaceMe; Chen et al. 2025, Prune&Comp; LinearPatch (Chen et al. 2025)",
        ),
        Component(
            "quantise", f"{at}.quantise:Quantise", reference="Nagel et al. 2021, section 2; Dettmers et al. 2022"
        ),
        Component(
            "width",
            f"{at}.width:Width",
            reference="Michel et al. 2019, Are sixteen heads really better than one?; Kwon et al. 2022; "
            "Muralidharan et al. 2024, Minitron",
        ),
        Component("qlora", f"{at}.qlora:QLoRA", reference="Dettmers et al. 2023, QLoRA"),
    ]


@hookimpl
def lwa_exporters() -> list[Component[Any]]:
    return [Component("onnx", "lwa_plugins.exporters.onnx:Onnx", needs={"extra:onnx"})]


@hookimpl
def lwa_event(event: Event, run: RunContext) -> None:
    from lwa_plugins.observers.event_log import append

    append(event, run)
