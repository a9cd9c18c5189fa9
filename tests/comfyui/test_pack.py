"""The pack as ComfyUI sees it: loading, definitions, help and templates."""

from __future__ import annotations

import json
import re
from pathlib import Path

from safetensors import safe_open

from tests.comfyui import models
from tests.comfyui.alloy import Alloy, save
from tests.comfyui.conftest import PACK
from tests.comfyui.harness import Server
from tests.comfyui.loras import random_lora

NODES = set(json.loads((PACK / "tests/nodes/contract.json").read_text()))


def test_all_nodes_are_there(comfyui: Server) -> None:
    info = comfyui.object_info()
    ours = {name for name, node in info.items() if node["category"] == "LoRA Alloy"}
    assert ours == NODES
    assert {info[name]["python_module"] for name in ours} == {"custom_nodes.lora-alloy"}


def test_the_log_has_the_pack_and_no_failed_import(comfyui: Server) -> None:
    assert re.search(r"seconds: \S+/lora-alloy\n", comfyui.log())
    assert "IMPORT FAILED" not in comfyui.log()


def test_help_and_translations_are_served(comfyui: Server) -> None:
    for node in NODES:
        page = comfyui.fetch(f"/extensions/lora-alloy/docs/{node}.md").decode()
        assert page == (PACK / f"web/docs/{node}.md").read_text(encoding="utf-8")
        # Where the page looks for it in Chinese.
        page = comfyui.fetch(f"/extensions/lora-alloy/docs/{node}/zh.md").decode()
        assert page == (PACK / f"web/docs/{node}/zh.md").read_text(encoding="utf-8")
    assert comfyui.get("/i18n")["zh"]["nodeDefs"].keys() >= NODES


def test_templates_are_served(comfyui: Server) -> None:
    names = comfyui.get("/workflow_templates")["lora-alloy"]
    assert set(names) == {path.stem for path in (PACK / "example_workflows").glob("*.json")}
    for name in names:
        address = f"/api/workflow_templates/lora-alloy/{name.replace(' ', '%20')}"
        assert json.loads(comfyui.fetch(f"{address}.json"))["version"] == 0.4
        assert comfyui.fetch(f"{address}.jpg")[:2] == b"\xff\xd8"


def test_a_copy_loads_under_any_folder_name_and_obeys_disable_metadata(tmp_path: Path) -> None:
    odd = {"lora.alloy-main": PACK}
    with Server(packs=odd, copy=True, options=("--disable-metadata",)) as comfyui:
        assert comfyui.object_info().keys() >= NODES
        assert comfyui.fetch("/extensions/lora.alloy-main/docs/LoraAlloyBlend.md")
        lora = random_lora(models.flux(), only="single_blocks.0.*")
        graph = Alloy(comfyui)
        graph.node("LoraAlloySave", lora=graph.load(save(comfyui, "quiet", lora, ss_tag="x")))
        comfyui.queue(graph, workflow={"nodes": []})
        (path,) = (comfyui.base / "output/loras").glob("alloy_*.safetensors")
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert metadata["ss_tag"] == "x" and not {"workflow", "prompt"} & metadata.keys()
