"""What several files say for people, in one file: tags, trigger words, comments.

Everything stays that any of them says, told apart by its file where the form has room for it: tags
lie in folders, comments have lines. Trigger words are typed into a prompt and stay as they are; the
recipe says whose they are.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# JSON objects: {folder: {tag: count}}, {folder: {...}}.
FOLDERS = ("ss_tag_frequency", "ss_dataset_dirs")
# Words with commas between them, or a JSON list of them; every trainer and manager has its key.
WORDS = (
    "modelspec.trigger_phrase",
    "ss_trigger_words",
    "trigger_words",
    "trigger_phrase",
    "trigger_word",
    "activation text",
    "instance_prompt",
)
LISTS = (*WORDS, "modelspec.tags")
TEXTS = (
    "ss_training_comment",
    "modelspec.description",
    "modelspec.usage_hint",
    "modelspec.author",
    "modelspec.license",
)


class Said(NamedTuple):
    """What a file says. `label` is its name; `merged` that it is united from several itself."""

    label: str
    metadata: Mapping[str, str]
    merged: bool = False


def united(files: Sequence[Said]) -> dict[str, str]:
    """The entries for people of all files, each with what every file says. No file: no entries."""
    result = {}
    for keys, unite in ((FOLDERS, _folders), (LISTS, _lists), (TEXTS, _texts)):
        for key in keys:
            saying = [file for file in files if file.metadata.get(key)]
            if saying and (value := unite(key, saying)):
                result[key] = value
    return result


def trigger_words(metadata: Mapping[str, str]) -> list[str]:
    """The words that a file says are to be in the prompt."""
    return list(dict.fromkeys(w for key in WORDS for w in words(metadata.get(key, ""))))


def tags(metadata: Mapping[str, str]) -> dict[str, int]:
    """{tag of the training's captions: how often}, the most frequent first."""
    counts: dict[str, int] = {}
    for found in json_object(metadata.get("ss_tag_frequency", "")).values():
        for tag, count in found.items() if isinstance(found, dict) else ():
            if isinstance(count, int | float) and abs(count) < 1e15:
                counts[tag.strip()] = counts.get(tag.strip(), 0) + int(count)
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def words(text: str) -> list[str]:
    """What is between the commas, or in the JSON list."""
    found = _json(text)
    pieces = [str(piece) for piece in found] if isinstance(found, list) else text.split(",")
    return [piece.strip() for piece in pieces if piece.strip()]


def json_object(text: str) -> dict[str, Any]:
    """Empty where it is none."""
    found = _json(text)
    return found if isinstance(found, dict) else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _folders(key: str, files: Iterable[Said]) -> str:
    result: dict[str, Any] = {}
    for file in files:
        for folder, found in json_object(file.metadata[key]).items():
            name = folder if file.merged else f"{file.label}: {folder}"
            if result.get(name, found) != found:
                name = f"{file.label}: {folder}"
            result[name] = found
    return json.dumps(result) if result else ""


def _lists(key: str, files: Sequence[Said]) -> str:
    found = list(dict.fromkeys(word for file in files for word in words(file.metadata[key])))
    as_json = isinstance(_json(files[0].metadata[key]), list)
    return json.dumps(found) if as_json else ", ".join(found)


def _texts(key: str, files: Sequence[Said]) -> str:
    values = {file.metadata[key] for file in files}
    if len(values) == 1:
        return values.pop()  # All say the same.
    lines = [
        file.metadata[key] if file.merged else f"{file.label}: {file.metadata[key]}"
        for file in files
    ]
    return "\n".join(dict.fromkeys(lines))
