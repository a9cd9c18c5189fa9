"""torch and numpy are imported when they are used, and are what they are by any other way."""

import subprocess
import sys
from pathlib import Path

import torch

from core import deferred

ROOT = Path(__file__).parents[2]


def test_a_module_is_imported_when_something_of_it_is_used():
    code = (
        "import sys; from core.deferred import Tensor, np, torch\n"
        "def loaded(): return sorted({'numpy', 'torch'} & set(sys.modules))\n"
        "print(isinstance(1, Tensor), loaded()); np.pi; print(loaded())"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.splitlines() == ["False []", "['numpy']"]


def test_it_is_the_module():
    assert deferred.torch.float32 is torch.float32
    assert deferred.torch.linalg.svd is torch.linalg.svd
    assert isinstance(torch.zeros(1), deferred.Tensor)
    assert not isinstance([0.0], deferred.Tensor)
