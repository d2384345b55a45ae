"""The reference of commands, from the commands: `typer-commands MODULE:APP NAME`."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

#: Typer adds these to every command.
COMMON = ("--help", "--install-completion", "--show-completion")


def leaves(command: Any, name: str) -> list[tuple[str, Any]]:
    """The name and the command of every command that has no commands below it.

    Left out are those that pass their arguments on to another application.
    """
    if command.context_settings.get("allow_extra_args"):
        return []
    if not hasattr(command, "commands"):
        return [(name, command)]
    below = command.commands.items()
    return [leaf for word, inner in below for leaf in leaves(inner, f"{name} {word}")]


def described(name: str, command: Any) -> list[str]:
    """A section of the page: the usage, what the command does, its arguments and options."""
    shown = [p for p in command.params if not {*p.opts} & {*COMMON}]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    usage = " ".join([name, *(argument_name(p) for p in arguments), "[OPTIONS]"])
    text = re.sub(r"\n(?!\n)(?<!\n\n)", " ", (command.help or "").split("\f")[0])
    lines = [f"### {name}", "", "```text", usage, "```", "", text, ""]
    if not shown:
        return lines
    lines += ["| argument or option | meaning | default |", "| --- | --- | --- |"]
    for p in shown:
        label = argument_name(p) if p in arguments else option_name(p)
        help_text = re.sub(r"\s+", " ", p.help or "").replace("|", r"\|")
        lines.append(f"| `{label}` | {help_text} | {default(p)} |")
    return [*lines, ""]


def argument_name(p: Any) -> str:
    return p.metavar or p.name.upper()


def option_name(p: Any) -> str:
    names = ", ".join([*p.opts, *p.secondary_opts])
    return names if getattr(p, "is_flag", False) else f"{names} {argument_name(p)}"


def default(p: Any) -> str:
    if p.required:
        return "required"
    value = p.default
    if callable(value) or value in (None, (), [], "") or value is False or value is True:
        return ""
    return f"`{value}`"


class TyperCommands(SphinxDirective):
    """All commands of an application, a section each."""

    required_arguments = 2
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        place, name = self.arguments
        module, _, attribute = place.partition(":")
        command = typer.main.get_command(getattr(import_module(module), attribute))
        lines = [line for leaf in leaves(command, name) for line in described(*leaf)]
        text = StringList(lines, self.get_source_info()[0])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def add_to(app: Sphinx) -> None:
    """Add the directive."""
    app.add_directive("typer-commands", TyperCommands)
