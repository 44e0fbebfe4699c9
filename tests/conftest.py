"""Shape and dtype annotations of g3pt are checked while tests run."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook("g3pt", "beartype.beartype")
