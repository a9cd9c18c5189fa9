"""A node's schema as plain data: what a saved workflow depends on, and what a page shows."""

from __future__ import annotations

from typing import Any

# Their choices depend on the machine, not on this pack.
MACHINE_CHOICES = {"compute_device", "lora_name"}


def inputs_of(node: Any) -> dict[str, tuple[str, dict[str, Any], bool]]:
    """Every input by id, in order: (type, options, whether it is optional)."""
    given = node.GET_NODE_INFO_V1()["input"]
    found = {}
    for inputs in (node.GET_SCHEMA().inputs,):
        for item in inputs:
            optional = item.id in given.get("optional", {})
            kind, options = given["optional" if optional else "required"][item.id]
            found[item.id] = (kind, options, optional)
    return found


def contract(node: Any) -> list[str]:
    """What workflows are stored in terms of, a line each: inputs in order, then outputs.

    An input inside a DynamicCombo stands below it, behind the choice that shows it.
    """
    lines = []
    for name, (kind, options, optional) in inputs_of(node).items():
        lines.append(_input(name, kind, options) + " optional" * optional)
        for choice in options.get("options") or []:
            if isinstance(choice, dict):
                for nested, (inner_kind, inner) in choice["inputs"]["required"].items():
                    lines.append(_input(f"{name}.{choice['key']}.{nested}", inner_kind, inner))
    schema = node.GET_SCHEMA()
    lines += [f"-> {output.id}: {output.io_type}" for output in schema.outputs]
    return lines + ["output node"] * bool(schema.is_output_node)


def _input(path: str, kind: str, options: dict[str, Any]) -> str:
    line = f"{path}: {kind}"
    if options.get("options") and path not in MACHINE_CHOICES:
        keys = [one["key"] if isinstance(one, dict) else one for one in options["options"]]
        line += f" ({' | '.join(keys)})"
    if "template" in options:
        names = options["template"]["names"]
        line += f" ({names[0]} ... {names[-1]}) min={options['template']['min']}"
    facts = [key for key in ("default", "min", "max") if key in options]
    return line + "".join(f" {key}={options[key]!r}" for key in facts)


def every_input(node: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """(dotted id, type, options) of every input, those inside DynamicCombos included."""
    found = []
    for name, (kind, options, _) in inputs_of(node).items():
        found.append((name, kind, options))
        for choice in options.get("options") or []:
            if isinstance(choice, dict):
                for nested, (kind, inner) in choice["inputs"]["required"].items():
                    found.append((f"{name}.{nested}", kind, inner))
    return found


def words(node: Any) -> dict[str, Any]:
    """What a page shows of it in English, in the form of a translation.

    The page looks inputs up by id; a dot inside an id would be a path.
    """
    schema = node.GET_SCHEMA()
    inputs = {
        path.replace(".", "_"): {"name": path.split(".")[-1], "tooltip": options["tooltip"]}
        for path, _, options in every_input(node)
    }
    for path, _, options in every_input(node):
        if template := options.get("template"):  # the sockets that grow
            ((_, inner),) = template["input"]["required"].values()
            grown = {"tooltip": inner["tooltip"]}
            inputs |= {f"{path}_{name}": {"name": name, **grown} for name in template["names"]}
    outputs = {
        str(index): {"name": output.display_name, "tooltip": output.tooltip}
        for index, output in enumerate(schema.outputs)
    }
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": inputs,
        "outputs": outputs,
    }
