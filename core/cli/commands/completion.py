"""The command completion: text for a shell that makes it complete what this program takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping

from ..catalogue import ALIASES, SUMMARIES, parsers
from ..parser import Parser

EXAMPLES = """
    # bash: in ~/.bashrc
    eval "$(lora-alloy completion bash)"
    # zsh: in ~/.zshrc, after compinit
    eval "$(lora-alloy completion zsh)"
    # fish: once
    lora-alloy completion fish > ~/.config/fish/completions/lora-alloy.fish
    # PowerShell: in $PROFILE
    lora-alloy completion powershell | Out-String | Invoke-Expression
"""

# command -> option -> its choices, none where it takes anything or nothing
Words = Mapping[str, Mapping[str, tuple[str, ...]]]


def options(parser: Parser) -> None:
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell that is to complete")


def run(options: argparse.Namespace) -> None:
    words = {
        command: {
            name: tuple(map(str, action.choices or ()))
            for action in parser._actions
            for name in action.option_strings
        }
        for command, parser in parsers()
    }
    print("\n".join(SHELLS[options.shell](words | {a: words[c] for a, c in ALIASES.items()})))


def _cases(words: Words) -> Iterator[str]:
    """Of a `case` over COMMAND:WORD BEFORE, in what bash and zsh have in common."""
    for command, options in words.items():
        for option, choices in options.items():
            if choices:
                yield f'    {command}:{option}) words="{" ".join(choices)}" ;;'
        yield f'    {command}:*) [[ $current == -* ]] && words="{" ".join(options)}" ;;'
    yield f'    :*) words="{" ".join(SUMMARIES)} --help --version" ;;'


def _command(words: Words, indent: str = "  ") -> list[str]:
    return [
        f"{indent}for word in $before; do",
        f"{indent}  case $word in {'|'.join(words)}) command=$word; break ;; esac",
        f"{indent}done",
        f"{indent}case $command:$previous in",
    ]


def bash(words: Words) -> list[str]:
    return [
        "_lora_alloy() {",
        "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}",
        '  local before="${COMP_WORDS[*]:1:COMP_CWORD-1}" command= word words=',
        *_command(words),
        *_cases(words),
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "complete -o default -F _lora_alloy lora-alloy",
    ]


def zsh(words: Words) -> list[str]:
    return [
        "_lora_alloy() {",
        "  setopt local_options sh_word_split",
        "  local current=${words[CURRENT]} previous=${words[CURRENT-1]}",
        '  local before="${words[2,CURRENT-1]}" command= word',
        "  _lora_alloy_words",
        "}",
        "_lora_alloy_words() {",
        "  local words=",
        *_command(words),
        *_cases(words),
        "  esac",
        "  if [[ -n $words ]]; then compadd -- ${=words}; else _files; fi",
        "}",
        "compdef _lora_alloy lora-alloy",
    ]


def fish(words: Words) -> list[str]:
    lines = ["complete -c lora-alloy -n __fish_use_subcommand -f"]
    for command, text in SUMMARIES.items():
        lines.append(
            f"complete -c lora-alloy -n __fish_use_subcommand -a {command} -d {_quoted(text)}"
        )
    for command, options in words.items():
        seen = f"complete -c lora-alloy -n '__fish_seen_subcommand_from {command}'"
        for option, choices in options.items():
            name = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            lines.append(f"{seen} {name}" + f" -xa '{' '.join(choices)}'" * bool(choices))
    return lines


def powershell(words: Words) -> list[str]:
    table = [
        f"  '{command}' = @{{ "
        + "; ".join(f"'{o}' = @({', '.join(map(_quoted, c))})" for o, c in options.items())
        + " }"
        for command, options in words.items()
    ]
    return [
        "$loraAlloy = @{",
        *table,
        "}",
        "Register-ArgumentCompleter -Native -CommandName lora-alloy -ScriptBlock {",
        "  param($current, $tree, $position)",
        '  $before = @($tree.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })',
        "  if ($current) { $before = @($before | Select-Object -SkipLast 1) }",
        "  $command = $before | Where-Object { $loraAlloy.ContainsKey($_) } "
        "| Select-Object -First 1",
        "  if (-not $command) { $words = $loraAlloy.Keys | Sort-Object }",
        "  elseif ($before[-1] -and $loraAlloy[$command][$before[-1]])"
        " { $words = $loraAlloy[$command][$before[-1]] }",
        "  elseif ($current -like '-*') { $words = $loraAlloy[$command].Keys | Sort-Object }",
        '  $words | Where-Object { $_ -like "$current*" }',
        "}",
    ]


def _quoted(text: str) -> str:
    doubled = text.replace("'", "")
    return f"'{doubled}'"


SHELLS: dict[str, Callable[[Words], list[str]]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
    "powershell": powershell,
}
