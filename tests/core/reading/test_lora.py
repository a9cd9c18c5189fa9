"""How a file can be read otherwise than ComfyUI reads it.

What a file is read as otherwise is told by the tests of its modules, adapters and names.
Also of inputs.py, module.py: the errors of files that do not go together are in
running/test_layout.py, what modules mean in adapters/test_kinds.py.
"""

from safetensors.torch import load_file

from core import Blend, Lora, Reading, blend, select
from tests import helpers
from tests.core.kinds import FOLDER


def test_dropping_magnitudes_is_said_and_writes_plain_lora():
    path = FOLDER / "locon_dora.safetensors"
    edited = blend(Lora(path, reading=Reading(drop_magnitude=True)), None, Blend(weights=(0.5,)))
    assert not any("dora_scale" in key for key in edited.lora)
    assert any("without the magnitudes of 3 DoRA modules" in n for n in edited.report.notes)
    dropped = [key for key in edited.report.dropped if key.endswith(".dora_scale")]
    assert len(dropped) == 3
    kept = select(Lora(path, reading=Reading(drop_magnitude=True)), "")[0].lora
    assert edited.report.settings["reading"][0]["drop_magnitude"]
    assert helpers.same_bits(kept, {k: t for k, t in load_file(path).items() if "dora" not in k})
