"""The weights of diffusers' models; for a Python with diffusers: ask_diffusers.py ANSWER.json

{"diffusers": {model: [[name, key, null, false, shape], ...]}, "failed": {...}}
"""

import json
import sys
from pathlib import Path

import diffusers
import torch

sys.path.insert(0, str(Path(__file__).parent))
from diffusers_models import MODELS


def answer() -> dict:
    result: dict = {"diffusers": {}, "failed": {}}
    for name, (kind, settings) in MODELS.items():
        try:
            with torch.device("meta"):
                model = getattr(diffusers, kind)(**settings)
        except Exception as error:
            result["failed"][name] = repr(error)
            continue
        result["diffusers"][name] = [
            [key.removesuffix(".weight"), key, None, False, list(tensor.shape)]
            for key, tensor in model.state_dict().items()
        ]
    return result


if __name__ == "__main__":
    with torch.no_grad():
        Path(sys.argv[1]).write_text(json.dumps(answer()))
