"""Every edit of the library behind one call, for what has to hold for all of them."""

from core import Blend, Output, RankRule, blend, convert, resize, select
from tests.helpers import lora_file

# name -> (source, output, compute settings): the sources of these tests have modules x and y
EDITS = {
    "blend": lambda path, out, **how: blend(path, lora_file("xy", seed=9), output=out, **how),
    "blend of one": lambda path, out, **how: blend(path, None, Blend((0.5,)), out, **how),
    "blend untouched": lambda path, out, **how: blend(path, None, Blend(rank="full"), out, **how),
    "resize": lambda path, out, **how: resize(path, RankRule("rank", 2), "", out, **how),
    "resize larger": lambda path, out, **how: resize(path, RankRule("rank", 99), "", out, **how),
    "budget": lambda path, out, **how: resize(path, RankRule("parameters", 150), "", out, **how),
    "select": lambda path, out, **how: select(path, "*", out, **how),
    "convert": lambda path, out, **how: convert(path, out, **how),
    "convert dtype": lambda path, out, **how: convert(path, Output(out.path, "fp16"), **how),
}

# name -> (source, output): what these change nothing in
UNTOUCHED = {
    "select": lambda lora, output: select(lora, "*", output)[0],
    "convert": lambda lora, output: convert(lora, output),
    "resize": lambda lora, output: resize(lora, RankRule("rank", 99), output=output),
    "blend": lambda lora, output: blend(lora, None, Blend(rank="full"), output),
}
