"""Arguments of the right type that nothing can be done with: one line that says so."""

import pytest
import torch

from core import (
    Blend,
    LoraError,
    Output,
    RankRule,
    SettingError,
    analyze_lora,
    blend,
    choose_device,
    convert,
    resize,
    save,
    select,
)
from core.cli.main import main
from tests.helpers import files_in, lora
from tests.helpers import save as write

NAME = "x.lora_A.weight"


def odd_tensors() -> dict[str, torch.Tensor]:
    plain = torch.ones(4, 12)
    return {
        "sparse": plain.to_sparse(),
        "sparse (csr)": plain.to_sparse_csr(),
        "quantised": torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([plain, plain]),
        "on the meta device": plain.to("meta"),
        "complex": plain.to(torch.complex64),
    }


EDITS = {
    "blend": lambda source, out: blend(source, lora("x")),
    "convert": lambda source, out: convert(source, Output()),
    "resize": lambda source, out: resize(source, RankRule("rank", 2)),
    "select": lambda source, out: select(source, "*"),
    "save": lambda source, out: save(source, out / "o.safetensors"),
    "analyze": lambda source, out: analyze_lora(source),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("edit", EDITS)
def test_tensors_of_other_kinds_are_refused_by_name(tmp_path, edit):
    for kind, tensor in odd_tensors().items():
        for key in (NAME, "table"):
            with pytest.raises(SettingError, match=f"tensor {key}: is {kind.split(' (')[0]}"):
                EDITS[edit](lora("x") | {key: tensor}, tmp_path)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("device", ["meta", "mps:3", "cuda:99", "privateuseone", "hpu", "", "x"])
def test_a_device_has_to_compute(device):
    with pytest.raises(SettingError, match="cannot be used"):
        choose_device(device)


@pytest.mark.parametrize(
    "settings",
    [
        lambda: Blend(seed=10**22),
        lambda: Blend(seed=-(10**22)),
        lambda: Blend(oversampling=10**30),
        lambda: Blend(power_iterations=10**30),
        lambda: Blend(rank=10**400),
        lambda: RankRule("rank", 10**400),
        lambda: RankRule("parameters", 10**400),
        lambda: RankRule("energy", 0.5, 10**400),
        lambda: RankRule("energy", 0.5, 1, 10**400),
    ],
)
def test_numbers_without_end_are_refused(settings):
    with pytest.raises(LoraError, match=r"64 bits|below 2\^31"):
        settings()


@pytest.mark.parametrize(
    "command",
    [
        "resize a.safetensors --preview --rank " + "9" * 400,
        "resize a.safetensors --preview --knee --min-rank " + "9" * 400,
        "blend a.safetensors -o o.safetensors --truncation pca --seed " + "9" * 23,
        "blend a.safetensors -o o.safetensors --truncation pca --oversampling " + "9" * 23,
        "analyze a.safetensors --singular-values " + "9" * 23,
        "analyze a.safetensors --device meta",
    ],
    ids=lambda text: text[:60],
)
def test_the_command_line_says_so_in_a_line(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    write(lora("x"), tmp_path / "a.safetensors")
    assert main(command.split()) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert files_in(tmp_path) == {"a.safetensors"}
