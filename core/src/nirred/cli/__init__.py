"""The command line. Only click is imported here; a command's module is imported when it is called."""

from __future__ import annotations

import codecs
import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Sequence

import click

from ..errors import BUG, INTERRUPTED, ConfigError, NirredError, fault_of

#: Thresholds of the cycle collector: imports and plans create lasting objects, and 370 scans of these cost 0.1 s.
COLLECT = (50_000, 10, 10)
#: BLAS uses one thread (`run.limits.one_blas_thread`). More threads would start as it is loaded, once by numpy and
#: once by scipy, and each would spin for 0.1 s before it sleeps.
BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; default: those of this process.

    Returns
    -------
    int
        Exit code: 0 done; 1 some groups failed; 2 usage; 3 plugin; 4 data; 5 calibration; 6 step; 70 a bug (with
        traceback); 130 interrupted.
    """
    from .argv import normalise
    from .group import app

    gc.set_threshold(*COLLECT)
    _take_any_name()
    os.environ.setdefault(BLAS_THREADS, "1")
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app.main(normalise(words), prog_name="nirred", standalone_mode=False)
    except click.ClickException as error:
        show_usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _end_at_once_if_asked_again()
        click.echo("interrupted; finished products are kept", err=True)
        return INTERRUPTED
    except NirredError as error:
        show_error(error)
        return error.exit_code
    except OSError as error:  # unwritable directory, full disk: not a bug, and not handled by every command
        show_error(ConfigError(fault_of(error), "check the place, its permissions and the space left on the device"))
        return ConfigError.exit_code
    except Exception:  # noqa: BLE001 - the last guard: a bug is shown with its traceback and has its own exit code
        import traceback

        traceback.print_exc()
        click.echo("error: this is a bug in nirred or a plugin; please report it with the lines above", err=True)
        return BUG
    return code if isinstance(code, int) else 0


def _end_at_once_if_asked_again() -> None:
    """Let another Ctrl-C end the process without a traceback while it still waits for threads and workers."""
    with contextlib.suppress(ValueError):  # not the main thread, which alone gets signals
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _take_any_name() -> None:
    """Accept and print any file name: undecodable bytes unchanged, ? for characters that the terminal cannot show."""

    def written(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error("surrogateescape")(error)
        except UnicodeError:
            return codecs.lookup_error("replace")(error)

    codecs.register_error("nirred", written)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="nirred")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def show_usage(error: click.ClickException) -> None:
    """Show what is wrong with the arguments; for a group without a command, its help."""
    from ..inputs import shortened
    from .common import safe

    context = getattr(error, "ctx", None)
    if context is not None and error.message == context.get_help():
        click.echo(error.message, err=True)
    else:
        click.UsageError(shortened(safe(error.format_message()), 1000), context).show()


def show_error(error: NirredError) -> None:
    """Show an error and what to do about it on stderr."""
    from .common import safe

    click.echo(f"error: {safe(error.message)}", err=True)
    if error.hint:
        click.echo(f"  hint: {safe(error.hint)}", err=True)
