"""LoRA files with a few things wrong in them: in the numbers, the shapes, the header, or the bytes.

They are of any mix of kinds, names, shapes, dtypes and metadata, and mostly sound. The same random
numbers make the same file.
"""

import json
import math
import random
import struct
from collections.abc import Callable

from core.adapters.kind import KINDS

NAMES = [
    "lora_unet_double_blocks_0_img_attn_qkv",
    "diffusion_model.double_blocks.0.img_attn.qkv",
    "transformer.transformer_blocks.0.attn.to_q",
    "transformer.transformer_blocks.0.attn.to_k",
    "transformer.norm_out.linear",
    "lora_unet_final_layer_adaLN_modulation_1",
    "transformer.single_transformer_blocks.0.proj_mlp",
    "lora_unet_single_blocks_0_linear1",
    "lora_te1_text_model_encoder_layers_0_mlp_fc1",
    "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "img_in",
    "lora_unet__blocks_0_self_attn_q",
    "x.processor.qkv_lora",
]
# What other programs would obey where it is shown as it is.
INJECTIONS = [
    "\x1b[2J\x1b[31m", "\r", "\x9b2J", "\u202etxt", "a\nb", "\x00", "\u2028", "=1+1", "+1", "-1+1",
    "@SUM(1)",
    "\t=1", "![x](http://x.y/z.png)", "[x](http://x.y)", "<img src=x>", "a|b", "`x`",
    "[[x|https://x.y]]",
    "$\\bad$", "$x_{", "$", "\\$\\frac", "*", "www.x.y", "\ud800",
]  # fmt: skip
ODD_NAMES = [
    *(text for text in INJECTIONS if text != "\ud800"),
    "", ".", "..", "x", "a,b", "-a", "*", "a\nb", "\0", "\U0001f600", "x" * 5000, "0",
    "blocks.99999999999999999999.attn", "a.b" * 300,
]  # fmt: skip
SUFFIXES = [suffix for kind in KINDS for suffix in kind.suffixes] + [".alpha", ".lora_B.bias"]
FAMILIES_OF_SUFFIXES = [
    (".lora_B.weight", ".lora_A.weight"),
    (".lora_up.weight", ".lora_down.weight", ".alpha"),
    (".lora_up.weight", ".lora_mid.weight", ".lora_down.weight"),
    (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".alpha"),
    (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2"),
    (".lokr_w1", ".lokr_w2_a", ".lokr_w2_b", ".alpha"),
    (".lokr_w1", ".lokr_w2"),
    (".lokr_w1_a", ".lokr_w1_b", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2"),
    (".diff",),
    (".diff_b",),
    (".w_norm", ".b_norm"),
    (".lora_B.weight", ".lora_A.weight", ".dora_scale"),
    (".lora_B.weight", ".lora_A.weight", ".reshape_weight"),
    (".oft_blocks",),
    (".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"),
    (".set_weight",),
]
# (rows, columns) of a tensor by its suffix, for a weight [O, I] and rank R.
O, I, R = "O", "I", "R"  # noqa: E741
SHAPES = {
    ".lora_B.weight": (O, R), ".lora_A.weight": (R, I), ".lora_up.weight": (O, R),
    ".lora_down.weight": (R, I), ".lora_mid.weight": (R, R), ".hada_w1_a": (O, R),
    ".hada_w1_b": (R, I), ".hada_w2_a": (O, R), ".hada_w2_b": (R, I), ".hada_t1": (R, R),
    ".hada_t2": (R, R), ".lokr_w1": (2, 2), ".lokr_w2": (O, I), ".lokr_w2_a": (O, R),
    ".lokr_w2_b": (R, I), ".lokr_w1_a": (2, R), ".lokr_w1_b": (R, 2), ".lokr_t2": (R, R),
    ".diff": (O, I), ".diff_b": (O,), ".w_norm": (O,), ".b_norm": (O,), ".dora_scale": (O, 1),
    ".reshape_weight": (2,), ".oft_blocks": (2, 2, 2), ".a1.weight": (R, I), ".a2.weight": (O, R),
    ".b1.weight": (O, R), ".b2.weight": (R, I), ".set_weight": (O, I), ".alpha": (),
}  # fmt: skip
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
    "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
RARE_DTYPES = ["U16", "U32", "U64", "C64", "F8_E8M0", "F4", "F6_E2M3", "Q4", "", "f32", 7, None]
NUMBERS = [0.0, -0.0, math.nan, math.inf, -math.inf, -1.0, 1e-45, 3.4e38, -3.4e38, 1e30, 65504.0]
POWERS = [4, 8, 12, 19, 25, 29]
INTEGERS = [-1, 0, 1, 2, 7, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40]
DEEP = "[" * 5000 + "]" * 5000
ODD_JSON = [
    "", "{", "[]", "null", "7", '"x"', "NaN", DEEP, '{"a":' * 3000 + "1" + "}" * 3000,
    '{"transformer.lora_alpha": NaN}', '{"transformer.lora_alpha": Infinity, "transformer.r": 1}',
    '{"transformer.lora_alpha": 1e400}', '{"lora_alpha": ' + "9" * 400 + "}",
    '{"lora_alpha": -4, "r": 0}', '{"lora_alpha": [1], "alpha_pattern": [2]}',
    '{"lora_alpha": 8, "alpha_pattern": {"(": 1, "x": "y", "(.*a+)+b": 3, "": null}}',
    '{"lora_alpha": 8, "alpha_pattern": {"' + "(.*)*" * 12 + '$x": 1}}',
    '{"lora_alpha": 8, "alpha_pattern": {"' + "(a|_|.)" * 40 + '=": 1}}',
    '{"inputs": [{"name": 1}], "version": [], "operation": {}}', '{"inputs": 3}', "{}" * 4000,
    "\ud800", *INJECTIONS,
    '{"1_\\u001b[2J": {"=1+1": 1, "\\r": 1e400, "[[a|https://b.c]]": "x"}}',
    '{"operation": "blend", "settings": {"weights": [1], "rank": "' + "9" * 400 + '", "layers": '
    '"\\u001b[2J", "block_weights": "@/dev/zero:x", "output": "/etc/passwd"}, "inputs": '
    '[{"name": "../../\\u001b[31m$(x)`y`.safetensors", "sha256": "\\r", "trigger": "|"}]}',
]  # fmt: skip
METADATA_KEYS = [
    *["lora_adapter_metadata"] * 6, *["lora_alloy"] * 4, "ss_tag_frequency", "ss_output_name",
    "modelspec.trigger_phrase", "modelspec.merged_from", "ss_training_comment", "ss_network_dim",
    "ss_network_alpha",
    "ss_base_model_version", "modelspec.architecture", "modelspec.title", "sshs_model_hash",
    "format", "", "x" * 3000,
]  # fmt: skip


def file(chance: random.Random) -> bytes:
    """The bytes of one case."""
    entries, data = [], bytearray()
    wrong = chance.choice([0.0, 0.0, 0.03, 0.15])  # How much of it is odd.
    odd = lambda: chance.random() < wrong  # noqa: E731
    for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 4, 6])):
        raw = chance.choice(ODD_NAMES if odd() else NAMES)
        suffixes = chance.choice(FAMILIES_OF_SUFFIXES)
        if odd():
            suffixes = tuple(chance.sample(SUFFIXES, chance.randint(1, 4)))
        few = ((O, [1, 8, 12, 24]), (I, [1, 4, 8]), (R, [1, 2, 3, 9]))
        sizes = {dimension: chance.choice(choices) for dimension, choices in few}
        kernel = chance.choice([()] * 4 + [(1, 1), (3, 3)])
        dtype = chance.choice(list(SIZES)[:4]) if not odd() else chance.choice(list(SIZES))
        # Factors far apart in size, whose product may be as any other.
        power = chance.choice(POWERS) if odd() else 0
        for suffix in suffixes:
            power = -power
            if odd():
                continue  # A tensor that is missing.
            shape = [sizes.get(n, n) for n in SHAPES.get(suffix, (2, 2))]
            if kernel and suffix in (".lora_down.weight", ".lora_A.weight", ".diff", ".lokr_w2"):
                shape += kernel
            elif kernel and suffix in (".lora_up.weight", ".lora_B.weight"):
                shape += [1, 1]
            elif suffix.endswith(("_mid.weight", "_t1", "_t2")):
                shape += kernel or (1, 1)
            size = 1.0 if suffix == ".alpha" else 10.0**power
            entries.append(_entry(chance, raw + suffix, shape, dtype, data, odd, wrong, size))
    if odd():
        entries.append(_entry(chance, chance.choice(ODD_NAMES), [3], "F32", data, odd, wrong))
    text = _header(chance, entries, odd)
    size = len(text)
    if odd():
        size = chance.choice([0, 1, size - 1, size + 1, len(data), 10**8 + 1, *INTEGERS])
    result = bytearray(struct.pack("<Q", size % 2**64) + text + data)
    if odd():
        for _ in range(chance.randint(1, 8)):
            result[chance.randrange(len(result))] = chance.randrange(256)
    if odd():
        del result[chance.randrange(len(result) + 1) :]
    if odd():
        result += bytes(chance.randint(1, 64))
    return bytes(result)


def _entry(
    chance: random.Random,
    key: str,
    shape: list[int],
    dtype: str,
    data: bytearray,
    odd: Callable[[], bool],
    wrong: float,
    size: float = 1.0,
) -> tuple[str, object]:
    """One line of the header, its numbers, of about this size, appended to the data."""
    if odd():
        shape = [chance.choice([0, 1, 2, 3, 5]) for _ in range(chance.choice([0, 1, 2, 3, 4, 6]))]
    if odd():
        shape = [1] * chance.choice([7, 30, 63, 64, 65, 200, 1000]) + shape[-1:]
    count = math.prod(shape)
    # Hypothesis draws from all numbers there are.
    values = [max(-1e9, min(chance.gauss(0, 1), 1e9)) * size for _ in range(count)]
    if key.endswith(".alpha") and chance.random() < 4 * wrong:
        values = [chance.choice(NUMBERS)] * count
    elif odd() and values:
        values[chance.randrange(count)] = chance.choice(NUMBERS)
    if odd():
        values = [chance.choice(NUMBERS)] * count
    start = len(data)
    data += _numbers(values, dtype)
    offsets: list[object] = [start, len(data)]
    entry: dict[str, object] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    if odd():
        offsets[chance.randrange(2)] = chance.choice([*INTEGERS, 1.5, "3", None, start + 1])
    if odd():
        entry["shape"] = [*shape[:-1], chance.choice(INTEGERS)]
    if odd():
        entry["dtype"] = chance.choice([*RARE_DTYPES, *SIZES])
    if odd():
        entry.pop(chance.choice(list(entry)))
    if odd():
        entry["more"] = chance.choice([1, "x", [], {"a": {}}])
    return key, chance.choice([entry, [], None, 3]) if odd() and odd() else entry


def _numbers(values: list[float], dtype: str) -> bytes:
    """Numbers as bytes: exact for floats of 16 bits and more, some byte for the others."""
    if dtype == "BF16":
        words = struct.pack(f"<{len(values)}f", *values)
        return b"".join(words[i + 2 : i + 4] for i in range(0, len(words), 4))
    if dtype == "F16":
        held = [abs(v) < 65520 or math.isnan(v) for v in values]
        values = [
            v if ok else math.copysign(math.inf, v) for v, ok in zip(values, held, strict=True)
        ]
        return struct.pack(f"<{len(values)}e", *values)
    if dtype in ("F32", "F64"):
        return struct.pack(f"<{len(values)}{'f' if dtype == 'F32' else 'd'}", *values)
    whole = [int(v * 16) & 0xFF if math.isfinite(v) else 0x7F for v in values]
    return b"".join(bytes([w % 2 if dtype == "BOOL" else w]) * SIZES[dtype] for w in whole)


def _header(
    chance: random.Random, entries: list[tuple[str, object]], odd: Callable[[], bool]
) -> bytes:
    if chance.random() < 0.3 or odd():
        metadata: object = {
            chance.choice(METADATA_KEYS): chance.choice(ODD_JSON)
            for _ in range(chance.choice([0, 1, 2]))
        }
        if odd():
            metadata = chance.choice([None, [], "x", {"a": 1}, {"a": None}, {"a": {"b": []}}, 7])
        entries = [("__metadata__", metadata), *entries]
    if odd() and entries:
        entries = [*entries, chance.choice(entries)]  # A key that is there twice.
    if odd():
        chance.shuffle(entries)
    lines = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in entries]
    text = ("{" + ",".join(lines) + "}").encode("utf-8", "surrogatepass")
    if odd():
        text = chance.choice([
            DEEP.encode(), b"", b"{}", b"[]", b'{"\xff\xfe":1}', text[:-1], text + b",",
            b" " + text,
            text.replace(b'"', b"'"), text + b" " * 64, text.replace(b"lora", b"\xc3\x28"),
            b'{"a":' + DEEP.encode() + b"}",
        ])  # fmt: skip
    return text
