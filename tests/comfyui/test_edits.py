"""Blend, Rank Resize and Top Blocks, judged by the pictures they make."""

from __future__ import annotations

import json
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from tests.comfyui import models
from tests.comfyui.alloy import (
    EXACT,
    Alloy,
    applied,
    core_loras,
    difference,
    latent,
    rank,
    save,
    text_of,
)
from tests.comfyui.graphs import Link, load_flux
from tests.comfyui.harness import Server
from tests.comfyui.loras import random_lora


def lora(comfyui: Server, spelling: str = "kohya", seed: int = 0, **options: Any) -> str:
    name = "-".join(["edit", spelling, str(seed), *map(str, options.values())])
    tensors = random_lora(models.flux(), spelling, seed=seed, **options)
    return save(comfyui, name.replace("*", "all"), tensors)


@pytest.mark.parametrize(
    "spellings",
    [
        ("kohya", "diffusers"),
        ("diffusers", "generic"),
        ("generic", "kohya"),
    ],
    ids="-".join,
)
def test_a_blend_of_full_rank_is_both_loras(comfyui: Server, spellings: tuple[str, str]) -> None:
    first = lora(comfyui, spellings[0], 1)
    second = lora(comfyui, spellings[1], 2, alpha=2.0)

    def blend(graph: Alloy) -> Link:
        return graph.node(
            "LoraAlloyBlend", lora_1=graph.load(first), lora_2=graph.load(second),
            weight_1=0.8, weight_2=-0.4, target_rank=EXACT,
        )[0]  # fmt: skip

    chained = latent(comfyui, core_loras((first, 0.8), (second, -0.4)))
    assert difference(chained, latent(comfyui, core_loras((first, 0.8)))) > 0.01
    assert difference(chained, latent(comfyui, applied(blend))) < 1e-4


@pytest.mark.parametrize("truncation", ["svd", "pca"])
def test_a_blend_of_lower_rank_comes_closer_with_every_rank(
    comfyui: Server, truncation: str
) -> None:
    first, second = lora(comfyui, seed=1), lora(comfyui, seed=2)
    exact = latent(comfyui, core_loras((first, 1.0), (second, 1.0)))

    def error(ranks: int) -> float:
        def blend(graph: Alloy) -> Link:
            inputs = {"lora_1": graph.load(first), "lora_2": graph.load(second)}
            inputs |= rank(ranks)
            return graph.node("LoraAlloyBlend", **inputs, truncation=truncation)[0]

        return difference(exact, latent(comfyui, applied(blend)))

    errors = [error(ranks) for ranks in (1, 8)]
    assert errors[0] > errors[1] and errors[1] < 1e-4


def four_loras(comfyui: Server) -> tuple[list[str], list[float]]:
    """Four LoRAs of one model in three spellings, and their weights."""
    spellings = ["kohya", "diffusers", "generic", "kohya"]
    names = [lora(comfyui, spelling, seed, rank=2) for seed, spelling in enumerate(spellings, 5)]
    return names, [0.8, -0.5, 0.6, 0.3]


def test_four_loras_become_one(comfyui: Server) -> None:
    names, weights = four_loras(comfyui)

    def blend(graph: Alloy) -> Link:
        first, second, *others = map(graph.load, names)
        more = {f"more_loras.lora_{number}": lora for number, lora in enumerate(others, 3)}
        return graph.node(
            "LoraAlloyBlend", lora_1=first, lora_2=second, weight_1=0.8, weight_2=-0.5,
            rows="0.6, 0.3", target_rank=EXACT, **more,
        )[0]  # fmt: skip

    pairs = list(zip(names, weights, strict=True))
    chained = latent(comfyui, core_loras(*pairs))
    assert difference(chained, latent(comfyui, core_loras(*pairs[:3]))) > 0.01
    assert difference(chained, latent(comfyui, applied(blend))) < 1e-4


def test_a_merge_method_and_its_parameters_reach_the_library(comfyui: Server) -> None:
    names, _ = four_loras(comfyui)
    graph = Alloy(comfyui)
    first, second, third, _ = map(graph.load, names)
    blend = graph.node(
        "LoraAlloyBlend", lora_1=first, lora_2=second, method="ties", auto_strength=True,
        **{"more_loras.lora_3": third, "method.density": 0.25}, **rank(2),
    )  # fmt: skip
    graph.node("LoraAlloySave", lora=blend[0], filename_prefix="loras/ties")
    comfyui.queue(graph)
    (path,) = (comfyui.base / "output/loras").glob("ties_*")
    with safe_open(path, "pt") as file:
        recipe = json.loads(file.metadata()["lora_alloy"])
    assert [entry["name"] for entry in recipe["inputs"]] == names[:3]
    settings = recipe["settings"]
    assert (settings["method"], settings["parameters"]) == ("ties", {"density": 0.25})
    assert settings["strength"] == "auto" and settings["weights"] == [1.0, 1.0, 1.0]


def test_block_weights_mix_by_block(comfyui: Server) -> None:
    first, second = lora(comfyui, seed=1), lora(comfyui, seed=2)
    halves = [
        lora(comfyui, seed=1, only="double_blocks.*"),
        lora(comfyui, seed=2, only="single_blocks.*"),
    ]

    def blend(graph: Alloy) -> Link:
        return graph.node(
            "LoraAlloyBlend", lora_1=graph.load(first), lora_2=graph.load(second),
            target_rank=EXACT, block_weights="double_blocks.0-3: 1, 0\nsingle_blocks.0-5: 0, 1",
        )[0]  # fmt: skip

    expected = latent(comfyui, core_loras(*((half, 1.0) for half in halves)))
    assert difference(expected, latent(comfyui, core_loras((first, 1.0)))) > 0.01
    assert difference(expected, latent(comfyui, applied(blend))) < 1e-4


def test_layers_filter_and_balance_reach_the_library(comfyui: Server) -> None:
    first, second = lora(comfyui, seed=1), lora(comfyui, seed=2, size=0.1)
    graph = Alloy(comfyui)
    blend = graph.node(
        "LoraAlloyBlend", lora_1=graph.load(first), lora_2=graph.load(second),
        layers="single_blocks.0-2, -*modulation*", balance="power law",
        **{"balance.target_strength": 2.0, "balance.power": 1.0, "balance.floor": 0.0},
    )  # fmt: skip
    report = graph.show(blend[1])
    graph.node("LoraAlloySave", lora=blend[0], filename_prefix="loras/filtered")
    said = text_of(comfyui.queue(graph), report)
    assert "6 modules written" in said
    (path,) = (comfyui.base / "output/loras").glob("filtered_*")
    assert len([key for key in load_file(path) if key.endswith("up.weight")]) == 6


def test_fewer_ranks_are_further_from_the_original(comfyui: Server) -> None:
    name = lora(comfyui, seed=3, rank=8)
    exact = latent(comfyui, core_loras((name, 1.0)))

    def error(**rule: Any) -> float:
        def resize(graph: Alloy) -> Link:
            return graph.node("LoraAlloyRankResize", lora=graph.load(name), **rule)[0]

        return difference(exact, latent(comfyui, applied(resize)))

    errors = [error(**{"rule": "fixed rank", "rule.rank": ranks}) for ranks in (1, 4, 8)]
    assert errors[0] > errors[1] > errors[2] == 0.0
    assert error(rule="energy", **{"rule.share": 0.5}) > error(
        rule="energy", **{"rule.share": 0.95}
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "singular value ratio", "rule.ratio": 1.2},
        {"rule": "cumulative", "rule.share": 0.5},
        {"rule": "Frobenius", "rule.share": 0.8},
        {"rule": "knee"},
        {"rule": "file size in MB", "rule.megabytes": 0.5},
    ],
    ids=lambda rule: rule["rule"],
)
def test_every_rule_makes_the_file_smaller_and_draws_it(
    comfyui: Server, rule: dict[str, Any]
) -> None:
    name = lora(comfyui, seed=3, rank=8)
    graph = Alloy(comfyui)
    resize = graph.node("LoraAlloyRankResize", lora=graph.load(name), **rule)
    report = graph.show(resize[1])
    prefix = f"loras/{rule['rule'].split()[0]}"
    saved = graph.node("LoraAlloySave", lora=resize[0], filename_prefix=prefix)
    path = graph.show(saved[0])
    entry = comfyui.queue(graph)
    assert "truncated" in text_of(entry, report)
    (chart,) = comfyui.files(entry, "images")
    assert chart.stat().st_size > 5000
    size = comfyui.base.joinpath(text_of(entry, path)).stat().st_size
    assert size < (comfyui.folder("loras") / name).stat().st_size
    if rule["rule"] == "file size in MB":
        assert 450_000 < size <= 502_000  # the graph in the metadata is extra


def two_halves(comfyui: Server) -> str:
    """A LoRA of which single blocks 1 and 4 are strong and all else is weak."""
    strong = {
        key: tensor
        for only in ("single_blocks.1.*", "single_blocks.4.*")
        for key, tensor in random_lora(models.flux(), "kohya", seed=4, size=2.0, only=only).items()
    }
    weak = random_lora(models.flux(), "kohya", seed=4, size=0.1)
    return save(comfyui, "top-blocks", weak | strong)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with-analysis"])
def test_top_blocks_keep_the_picture_and_the_rest_completes_it(
    comfyui: Server, shared: bool
) -> None:
    name = two_halves(comfyui)
    texts: dict[str, str] = {}

    def part(outputs: list[int]) -> Any:
        def patch(graph: Alloy, model: Link, clip: Link) -> tuple[Link, Link]:
            source = graph.load(name)
            more = {}
            if shared:
                more["analysis"] = graph.node("LoraAlloyLayerAnalysis", lora=source)[0]
            top = graph.node(
                "LoraAlloyTopBlocks", lora=source, importance="energy share", threshold=0.9, **more
            )
            for output in outputs:
                model, clip = graph.apply(model, clip, top[output])
            return model, clip

        return patch

    plain, exact = latent(comfyui), latent(comfyui, core_loras((name, 1.0)))
    kept, rest = latent(comfyui, part([0])), latent(comfyui, part([1]))
    assert difference(exact, latent(comfyui, part([0, 1]))) < 1e-5
    assert difference(exact, kept) < difference(exact, rest)
    assert difference(plain, rest) < difference(plain, kept)

    graph = Alloy(comfyui)
    top = graph.node("LoraAlloyTopBlocks", lora=graph.load(name), importance="energy share")
    shown = {output: graph.show(top[output]) for output in (2, 3)}
    entry = comfyui.queue(graph)
    texts = {output: text_of(entry, node) for output, node in shown.items()}
    assert "single_blocks.1" in texts[2] and "single_blocks.4" in texts[2]
    assert "double_blocks" not in texts[2]
    assert "only_if_contains" in texts[3]


def test_top_blocks_as_text_choose_the_same_layers(comfyui: Server) -> None:
    """The blocks output is a selector: Blend's layers take it."""
    name = two_halves(comfyui)

    def patch(graph: Alloy, model: Link, clip: Link) -> tuple[Link, Link]:
        source = graph.load(name)
        top = graph.node("LoraAlloyTopBlocks", lora=source, importance="energy share")
        same = graph.node("LoraAlloyBlend", lora_1=source, layers=top[2], target_rank=EXACT)
        return graph.apply(model, clip, same[0])

    def kept(graph: Alloy, model: Link, clip: Link) -> tuple[Link, Link]:
        top = graph.node("LoraAlloyTopBlocks", lora=graph.load(name), importance="energy share")
        return graph.apply(model, clip, top[0])

    assert difference(latent(comfyui, kept), latent(comfyui, patch)) < 1e-6


def test_the_analysis_has_a_chart_a_table_and_a_csv(comfyui: Server) -> None:
    name = two_halves(comfyui)
    graph = Alloy(comfyui)
    load_flux(graph)
    for chart in ("blocks", "heat map", "spectrum", "cumulative"):
        node = graph.node(
            "LoraAlloyLayerAnalysis", lora=graph.load(name), chart=chart, rows=5,
            statistics="full" if chart == "blocks" else "spectral",
        )  # fmt: skip
        if chart == "blocks":
            table, csv = graph.show(node[2]), graph.show(node[3])
        else:
            graph.add("PreviewImage", images=node[1])
    entry = comfyui.queue(graph)
    assert "single_blocks.1" in text_of(entry, table)
    lines = text_of(entry, csv).strip().splitlines()
    assert len(lines) == 59 and "dW.percentiles.p99" in lines[0]
