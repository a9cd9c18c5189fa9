"""The whole audit of tests/audit.py, model by model, and that it finds what is wrong."""

import pytest

from core.naming.catalogue import FAMILIES
from core.naming.family import Family
from tests import audit
from tests.key_maps import DIFFUSION_MODELS, TEXT_ENCODERS, models

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("model", models(DIFFUSION_MODELS))
def test_nothing_is_wrong_with(model):
    faults = {name: check(model)[1] for name, check in audit.CHECKS.items()}
    assert not {name: found[:5] for name, found in faults.items() if found}


@pytest.mark.parametrize(
    "model", [m for m in models(TEXT_ENCODERS) if m not in audit.NO_LORAS_OF_ENCODERS]
)
def test_nothing_is_wrong_with_the_text_encoders_of(model):
    seen, faults = audit.encoders(model)
    assert seen and not faults[:5]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_shapes_are_those_of_the_models(family):
    assert family.shapes.strip() == audit.shapes_of(family)


def test_every_model_has_a_table():
    assert {audit.family_of(model).name for model in models(DIFFUSION_MODELS)} == {
        family.name for family in FAMILIES
    }


def test_the_audit_finds_what_is_wrong(monkeypatch, capsys):
    monkeypatch.setitem(audit.BY_NAME, "Lens", Family(name="Lens", table="img_in = image_in"))
    assert audit.main(["Lens"]) == 1
    printed = capsys.readouterr().out
    assert "native: lora_unet_proj_out is proj_out" in printed
    assert "written: transformer.image_in is not read" in printed
    # The family that recognition knows is another one than this.
    assert "whole: kohya: Lens (certain, 582 of 582 names known)" in printed


def test_the_audit_is_content(capsys):
    assert audit.main(["Lens"]) == 0
    assert capsys.readouterr().out.endswith("0 wrong\n")
