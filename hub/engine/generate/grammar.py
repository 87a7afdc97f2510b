"""Compiles grammars with llguidance; those of schemas first in a process that can be killed.

The time that a schema takes cannot be told from its size (a few kilobytes of `patternProperties` take
minutes), and the library cannot be interrupted.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress

import psutil
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from hub.errors import BadSampling, EngineFailed, HostFault

__all__ = ["compile_grammar", "rehearse", "why"]

MAX_COMPILE_S = 5.0
MAX_COMPILE_BYTES = 1 << 30  # address space of the process
MAX_GRAMMAR_BYTES = 16 << 20
MAX_REASON_CHARS = 300
TOO_COMPLEX = "The response_format cannot be used: its schema needs too much memory."
# In an error of the library: where it is, and the lines that it quotes.
_QUOTED = re.compile(
    r"^at \d+\(\d+\): (failed to compile JSON schema: )?|\n *\d+ \| .*|<non-verbose/>", re.DOTALL
)
# Of one token. A parser item took 0.5 us, and a unit of the lexer's fuel 0.07 us (x86-64).
_LIMITS = LLParserLimits(
    step_max_items=20_000,
    step_lexer_fuel=100_000,
    max_lexer_states=10_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)


def compile_grammar(grammar: str, tokenizer: LLTokenizer) -> LLMatcher:
    """Compile a grammar and find the tokens that it may begin with.

    Raises:
        BadSampling: it is invalid or too complex, or nothing satisfies it.
    """
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise BadSampling(f"The response_format cannot be used: {why(matcher)}")
    return matcher


def why(matcher: LLMatcher) -> str:
    """Return the error of a matcher in one line, without the grammar that it quotes."""
    error = _QUOTED.sub("", matcher.get_error())
    if error.startswith("NoExtension"):
        return "nothing that this base can write satisfies it"
    error = error.replace("Enable 'coerce_one_of' option to approximate", "`strict` false approximates")
    return " ".join(error.split())[:MAX_REASON_CHARS]


def rehearse(grammar: str) -> None:
    """Compile a grammar in another process, with limits on time and memory.

    Raises:
        BadSampling: as `compile_grammar`, or it exceeds a limit.
        HostFault, EngineFailed: the process could not be started.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=grammar.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=MAX_COMPILE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadSampling(
            f"The response_format cannot be used: its schema takes more than {MAX_COMPILE_S:g} s to compile. "
            "Use fewer of patternProperties, allOf, multipleOf and optional properties."
        ) from None
    except OSError as error:
        raise HostFault.of(error) from None
    if done.stdout:
        raise BadSampling(done.stdout.decode())
    if done.returncode == 1:  # an exception, such as a failed import; a library without memory aborts
        raise EngineFailed("The schema of response_format could not be checked.")
    if done.returncode:
        raise BadSampling(TOO_COMPLEX)


def main() -> None:
    """Compile the grammar on standard input, and print its error."""
    _limit_memory()
    grammar, tokenizer, process = sys.stdin.buffer.read().decode(), LLTokenizer("byte"), psutil.Process()
    before = process.memory_info().rss
    try:
        matcher = compile_grammar(grammar, tokenizer)
        if process.memory_info().rss - before > MAX_GRAMMAR_BYTES:
            raise BadSampling(TOO_COMPLEX)
        del matcher  # it was alive until here
    except BadSampling as error:
        sys.stdout.buffer.write(str(error).encode())


def _limit_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    with suppress(ValueError):  # macOS sets no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_COMPILE_BYTES, MAX_COMPILE_BYTES))


if __name__ == "__main__":
    main()
