"""Runs in the supervisor. `stemsplit completion`."""

from __future__ import annotations

from stemsplit.cli.overview import Shell, script
from stemsplit.core.errors import ExitCode


def completion(shell: Shell, /) -> int:
    """Print a shell completion script for commands, options and models.

    bash, in ~/.bashrc: eval "$(stemsplit completion bash)"

    zsh, in ~/.zshrc after compinit: eval "$(stemsplit completion zsh)"

    fish: stemsplit completion fish > ~/.config/fish/completions/stemsplit.fish

    Parameters
    ----------
    shell:
        Print the script for bash, zsh or fish.
    """
    print(script(shell))
    return ExitCode.DONE
