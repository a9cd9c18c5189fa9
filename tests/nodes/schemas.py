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


def contract(node: Any) -> dict[str, Any]:
    """What workflows are stored in terms of: ids, types, choices and their order."""
    schema = node.GET_SCHEMA()
    return {
        "inputs": [
            [name, kind, *_choices(name, options), *(["optional"] if optional else [])]
            for name, (kind, options, optional) in inputs_of(node).items()
        ],
        "outputs": [[output.id, output.io_type] for output in schema.outputs],
        "output_node": bool(schema.is_output_node),
    }


def _choices(name: str, options: dict[str, Any]) -> list[Any]:
    if "options" not in options or name in MACHINE_CHOICES:
        return []
    return [
        [
            choice
            if not isinstance(choice, dict)
            else [choice["key"], *([k, v[0]] for k, v in choice["inputs"]["required"].items())]
            for choice in options["options"]
        ]
    ]


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
