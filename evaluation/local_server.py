"""A real OpenAI-compatible server on this machine, for tests and the demo. Its opinions are worth nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from annotation.errors import InputError

# A judge that asks a model served under such a name is a toy judge, whoever forgets to say so.
TOY_PREFIX = "toy-"
CONTEXT_TOKENS = 3072


def toy_model_path() -> Path:
    """The GGUF file that `prepare_models` made.

    Raises:
        InputError: it is not there.
    """
    folder = Path(settings.MODELS_DIR) / "smollm2-135m-instruct"
    found = sorted(folder.glob("*.gguf"))
    if not found:
        raise InputError(f"there is no GGUF file in {folder}: run manage.py prepare_models")
    return found[0]


@contextmanager
def local_model_server(
    path: Path | None = None, *, port: int = 0, parallel: int = 4, threads: int | None = None
) -> Iterator[str]:
    """Serve the GGUF at `path`, else the prepared one, on 127.0.0.1 and give the endpoint's URL.

    Port 0 takes a free one. Without `threads` it works on half of the cores.

    Raises:
        InputError: no such file, the port is taken, or xllamacpp is not installed.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise InputError("the local model server needs xllamacpp: pip install 'attune[demo]'") from error
    path = path or toy_model_path()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {f"{TOY_PREFIX}{path.parent.name}"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = parallel
    params.n_ctx = CONTEXT_TOKENS * parallel
    # Its threads wait for one another by spinning: where all cores are busy, fewer threads are faster by far.
    for pool in (params.cpuparams, params.cpuparams_batch):
        pool.n_threads = threads or max(1, (os.cpu_count() or 1) // 2)
        pool.poll = 0
    params.verbosity = -1
    params.ui = False
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise InputError(f"the local model server cannot start on port {port}: {error}") from error
    try:
        yield f"{server.listening_address}/v1"
    finally:
        # The server stops when its last reference goes.
        del server
