"""Kinds that are told by their keys and that no edit knows: ComfyUI does not read them.

Their tensors are carried through and named; a file of nothing else is refused with the kind's name.
"""

import re

# A pattern for the end of a key -> what it is a part of.
FOREIGN = {
    r"\.(on_input|ia3_l)(\.\w+)*": "IA3",
    r"\.oft_[rRs](\.\w+)*": "OFT as PEFT and OneTrainer store it",
    r"\.boft_[RPs](\.\w+)*": "BOFT as PEFT stores it",
    r"vera_(lambda_[bd]|[AB])(\.\w+)*": "VeRA",
    r"randlora_\w+(\.\w+)*": "RandLora",
    r"\.hra_u(\.\w+)*": "HRA",
    r"\.(miss|bone)_\w+(\.\w+)*": "MiSS",
    r"\.fourierft_spectrum(\.\w+)*": "FourierFT",
    r"\.(lora_embedding_[AB])(\.\w+)*": "LoRA of an embedding",
}
UNKNOWN = "not part of an adapter kind that is known"


def foreign(key: str) -> str:
    """Which foreign kind a key belongs to; empty where that is not known."""
    return next((name for end, name in FOREIGN.items() if re.search(f"{end}$", key)), "")


def reason(key: str) -> str:
    """Why a tensor belongs to no module."""
    kind = foreign(key)
    return f"part of a kind that ComfyUI does not read: {kind}" if kind else UNKNOWN
