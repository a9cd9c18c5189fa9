"""How tall the parts of a fused weight are."""

from ..naming.family import Family
from ..reading.inputs import misfit, other_files
from ..reading.module import Module


def part_sizes(modules: list[Module], family: Family) -> list[int] | None:
    """Rows of each part of a fused weight, from shapes alone; None where they do not tell.

    Fused attention projections have as many rows per part as the weight has columns; only the last
    part of four (the MLP) has another size, which is what remains of the whole, in a file or in the
    family's models. Raises LoraError when two files disagree.
    """
    parts = len(modules[0].name.parts)
    if parts == 1:
        return None
    modules = [module for module in modules if module.out_features]
    known: dict[int, int] = {}
    for module in modules:
        name = module.name
        if name.last - name.first == 1:
            size = known.setdefault(name.first, module.out_features)
            if size != module.out_features:
                problem = (
                    f"has {module.out_features} rows in {module.tensors.name} and {size} in "
                    + other_files(module, modules)
                )
                raise misfit(modules, name.canonical, problem)
    told = bool(known)
    inner = next((m.in_features for m in modules if m.in_features), 0)
    if not inner and not known:
        return None  # Biases have no columns that would tell how tall a part is.
    whole = next((m.out_features for m in modules if m.name.whole), 0)
    native = modules[0].name.native if modules else None
    if native and (heights := family.heights(native, whole, known)):
        return heights if all(heights[part] == size for part, size in known.items()) else None
    for part in range(min(parts, 3)):
        known.setdefault(part, inner or next(iter(known.values()), 0))
    if not whole and native:
        whole = inner * family.rows_per_column.get(native, 0)
    if parts == 4:
        known.setdefault(3, whole - sum(known[p] for p in range(3)))
    for module in modules:
        name, total = module.name, module.out_features
        expected = sum(known[p] for p in range(name.first, name.last))
        if expected != total and told:
            problem = (
                f"has {total} rows in {module.tensors.name}, its parts in "
                f"{other_files(module, modules)} add up to {expected}"
            )
            raise misfit(modules, name.canonical, problem)
        if expected != total:
            return None
    sizes = [known[part] for part in range(parts)]
    return sizes if all(size > 0 for size in sizes) else None
