"""Block vectors and presets: what the documents of their programs say."""

import pytest

from core import LoraError
from core.naming.block_vectors import LAYOUTS, lengths, read_vector
from core.naming.catalogue import FAMILIES
from core.naming.layers import fits

FAMILY = {family.name: family for family in FAMILIES}
# The presets of LoRA Block Weight for 17 blocks, as its documentation lists them.
DOCUMENTED = {
    "NONE": "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "ALL": "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    "INS": "1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "IND": "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "INALL": "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "MIDD": "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0",
    "OUTD": "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0",
    "OUTS": "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1",
    "OUTALL": "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
    "ALL0.5": ",".join(["0.5"] * 17),
}
SDXL = {
    "SDXL-INALL": "1,1,1,1,1,0,0,0,0,0,0,0",
    "SDXL-MIDALL": "1,0,0,0,0,1,0,0,0,0,0,0",
    "SDXL-OUTALL": "1,0,0,0,0,0,1,1,1,1,1,1",
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_presets_are_the_documented_vectors(name):
    wanted = read_vector(DOCUMENTED[name], FAMILY["SD1.5"])
    for spelled in (name, name.lower(), f"SD-{name}"):
        assert read_vector(spelled, FAMILY["SD1.5"]) == wanted


@pytest.mark.parametrize("name", SDXL)
def test_sdxl_has_twelve_blocks_of_its_own(name):
    assert read_vector(name, FAMILY["SDXL"]) == read_vector(SDXL[name], FAMILY["SDXL"])


def test_the_numbers_stand_for_these_blocks():
    vector = read_vector(",".join(map(str, range(17))), FAMILY["SD1.5"])
    inputs = [f"input_blocks.{i}" for i in (1, 2, 4, 5, 7, 8)]
    outputs = [f"output_blocks.{i}" for i in range(3, 12)]
    assert vector == list(zip(["te", *inputs, "middle_block", *outputs], range(17), strict=True))
    assert lengths(FAMILY["SD1.5"]) == [17, 26, 27] and lengths(FAMILY["SDXL"]) == [12, 20, 21]
    assert lengths(FAMILY["Flux"]) == [61, 58, 57]
    flux = dict(read_vector(",".join(map(str, range(61))), FAMILY["Flux"]))
    assert (flux["clip_l"], flux["t5xxl"], flux["img_in"], flux["final_layer"]) == (0, 1, 2, 60)
    assert (flux["double_blocks.18"], flux["single_blocks.0"]) == (21, 22)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_block_is_one_of_the_family(name):
    for slots in LAYOUTS[name]:
        for patterns in slots:
            assert all(p == "te" or fits(p, FAMILY[name]) for p in patterns), patterns


@pytest.mark.parametrize(
    "text, family, message",
    [
        ("1,0", "SD1.5", "17, 26, 27 numbers"),
        ("OUTX", "SDXL", "NONE, ALL, INS"),
        ("OUTD", "Flux", "61, 58, 57 numbers"),
        ("R,1,1,1,1,1,1,1,1,1,1,1", "SDXL", "no vector"),
        ("ALL", "Wan", "no vectors and presets for Wan"),
        ("ALL.", "SDXL", "no vector"),
    ],
)
def test_what_is_no_vector_is_refused(text, family, message):
    with pytest.raises(LoraError, match=message):
        read_vector(text, FAMILY[family])
