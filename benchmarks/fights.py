"""Which merge helps? Two LoRAs really trained for two tasks, merged by every method, measured.

    python -m benchmarks.fights

A tiny flow-matching model (an MLP with residual blocks, time and class as inputs) learns four kinds
of points. One LoRA then learns a fifth kind, the *character*; another, trained on the first four
only, a *style*: everything turned and moved in the same way. Nobody has shown either of them the
character in that style. Losses are those of velocities on points, times and noise that training has
not seen, the same for all rows; a share is how much of what a LoRA for the task alone gains over
the base model the merge gains, in per cent (below 0: worse than the base model).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import core

SIZE, WIDTH, RANK, KINDS = 16, 96, 8, 4
CHARACTER = KINDS
Points = Callable[[Tensor, torch.Generator], Tensor]


class World:
    """What there is to learn: kinds of points in SIZE dimensions, and a style."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.centres = 1.5 * self.normal(KINDS + 1, SIZE)
        self.shapes = self.normal(KINDS + 1, SIZE, 3) * 0.5
        self.turn = torch.linalg.qr(self.normal(SIZE, SIZE)).Q
        self.turn = torch.linalg.matrix_exp(0.25 * (self.turn - self.turn.T))
        self.shift = 0.5 * self.normal(SIZE)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)

    def points(self, kinds: Tensor, random: torch.Generator) -> Tensor:
        inside = torch.randn((len(kinds), 3, 1), generator=random)
        noise = 0.1 * torch.randn((len(kinds), SIZE), generator=random)
        return self.centres[kinds] + (self.shapes[kinds] @ inside).squeeze(2) + noise

    def styled(self, kinds: Tensor, random: torch.Generator) -> Tensor:
        return self.points(kinds, random) @ self.turn.T + self.shift


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(SIZE + 2, WIDTH)
        self.kind = nn.Embedding(KINDS + 1, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.SiLU(), nn.Linear(2 * WIDTH, WIDTH))
            for _ in range(3)
        )
        self.last = nn.Linear(WIDTH, SIZE)

    def forward(self, x: Tensor, time: Tensor, kinds: Tensor) -> Tensor:
        hidden = self.first(torch.cat([x, time.cos(), time.sin()], dim=1)) + self.kind(kinds)
        for block in self.blocks:
            hidden = hidden + block(nn.functional.layer_norm(hidden, (WIDTH,)))
        return self.last(nn.functional.silu(hidden))


def loss(model: nn.Module, points: Points, kinds: list[int], count: int, seed: int) -> Tensor:
    """Of the velocity from noise to points, at one time each."""
    random = torch.Generator().manual_seed(seed)
    chosen = torch.tensor(kinds)[torch.randint(len(kinds), (count,), generator=random)]
    target = points(chosen, random)
    noise = torch.randn(target.shape, generator=random)
    time = torch.rand((count, 1), generator=random)
    found = model(time * target + (1 - time) * noise, time, chosen)
    return nn.functional.mse_loss(found, target - noise)


def train(
    model: nn.Module, points: Points, kinds: list[int], steps: int, rate: float, seed: int
) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        loss(model, points, kinds, 256, 1_000_000 * (seed + 1) + step).backward()
        optimiser.step()
        schedule.step()


class Adapted(nn.Module):
    """A linear layer with a LoRA of scale 1 on it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(RANK, base.in_features) / RANK**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + x @ self.down.T @ self.up.T
        return out


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}


def copy_of(base: Model) -> Model:
    model = Model()
    model.load_state_dict(base.state_dict())
    return model.requires_grad_(False)


def trained_lora(
    base: Model, points: Points, kinds: list[int], steps: int, seed: int
) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model = copy_of(base)
    adapted = {}
    for name, layer in linear_layers(model).items():
        owner, _, last = name.rpartition(".")
        adapted[name] = Adapted(layer)
        setattr(model.get_submodule(owner), last, adapted[name])
    train(model, points, kinds, steps, 3e-3, seed)
    factors = {"lora_A": "down", "lora_B": "up"}
    return {
        f"{name}.{key}.weight": getattr(layer, attribute).detach().clone()
        for name, layer in adapted.items()
        for key, attribute in factors.items()
    }


def with_lora(base: Model, lora: dict[str, Tensor]) -> Model:
    """The base model with what the file means added to its weights."""
    model = copy_of(base)
    layers = linear_layers(model)
    for module in core.Lora(core.StateDict(lora)).modules.values():
        update = module.update(torch.device("cpu"), torch.float32)
        dense = update.dense() if isinstance(update, core.LowRank) else update.values
        layers[module.raw].weight += dense
    return model


WAYS: dict[str, dict[str, object]] = {
    "sum": {},
    "sum, each at 0.5": {"weights": (0.5,)},
    "sum, strength auto": {"strength": "auto"},
    "sum, balance even": {"balance": core.Even()},
    **{name: {"method": name} for name in core.METHODS if name != "sum"},
    "dare, elect": {"method": "dare", "parameters": {"elect": True}},
    "ties, strength auto": {"method": "ties", "strength": "auto"},
    "np, mu 1e6": {"method": "np", "parameters": {"mu": 1e6}},
    "iso, common 0.8": {"method": "iso", "parameters": {"common": 0.8}},
}


def shares(seed: int, steps: int) -> dict[str, list[float]]:
    """Way -> what of each task's gain it keeps: character, style, the character in the style."""
    torch.manual_seed(seed)
    world, base = World(seed), Model()
    known = list(range(KINDS))
    train(base, world.points, known, 2 * steps, 2e-3, seed)
    tasks: list[tuple[Points, list[int]]] = [
        (world.points, [CHARACTER]), (world.styled, known), (world.styled, [CHARACTER]),
    ]  # fmt: skip
    loras = [trained_lora(base, *task, steps, seed + i) for i, task in enumerate(tasks)]

    def losses(model: nn.Module) -> list[float]:
        with torch.no_grad():
            return [float(loss(model, *task, 8192, 7)) for task in tasks]

    before = losses(base)
    alone = [losses(with_lora(base, lora))[i] for i, lora in enumerate(loras)]

    def kept(lora: dict[str, Tensor]) -> list[float]:
        found = losses(with_lora(base, lora))
        return [(b - f) / (b - a) for b, f, a in zip(before, found, alone, strict=True)]

    result = {"character alone": kept(loras[0]), "style alone": kept(loras[1])}
    for name, way in WAYS.items():
        settings = core.Blend(rank=core.RankRule("full"), **way)  # type: ignore[arg-type]
        # The style goes first: what has an order keeps the first as it is.
        result[name] = kept(core.blend([loras[1], loras[0]], settings=settings).lora)  # type: ignore[arg-type]
    cosine = core.compare([core.StateDict(lora) for lora in loras[:2]]).pairs[0].overlap.cosine
    result["(cosine of the two)"] = [cosine]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fights", description=__doc__)
    parser.add_argument("--worlds", type=int, default=5, help="how many, each trained anew")
    parser.add_argument("--steps", type=int, default=1500, help="of each LoRA")
    options = parser.parse_args()
    worlds = [shares(seed, options.steps) for seed in range(options.worlds)]
    cosine = worlds[0].pop("(cosine of the two)")[0]
    print(f"{options.worlds} worlds, {options.steps} steps; cosine of the two LoRAs {cosine:.2f}\n")
    means = {
        name: torch.tensor([world[name] for world in worlds]).mean(0).tolist() for name in worlds[0]
    }
    rows = sorted(means.items(), key=lambda item: -min(item[1][:2]))
    header = ["merge", "character", "style", "character in style", "least of both tasks"]
    cells = [
        [name, *(f"{100 * share:.0f} %" for share in (*found, min(found[:2])))]
        for name, found in rows
    ]
    print("\n".join(core.markdown_table(header, cells)))


if __name__ == "__main__":
    main()
