"""The files that the package ships beside its code: two sample LoRAs."""

from pathlib import Path


def samples() -> tuple[Path, Path]:
    """The paths of the two sample LoRAs, (style, character).

    Small LoRAs that were really trained, on a miniature of Flux: the style in diffusers' spelling
    with split projections, the character in kohya's with fused ones.

    >>> style, character = core.samples()
    >>> style.name, character.name
    ('style_diffusers.safetensors', 'character_kohya.safetensors')
    """
    folder = Path(__file__).with_name("samples")
    return folder / "style_diffusers.safetensors", folder / "character_kohya.safetensors"
