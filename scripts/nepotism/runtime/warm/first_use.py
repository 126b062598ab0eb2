"""What libraries put off until they are first used, and every forked job would do again."""

import importlib
import sys


def prepare_libraries() -> None:
    """Do it now, for the libraries that are imported: it is more than half a second of a job."""
    if "pyarrow" in sys.modules:
        # Before its first table, to know whether columns are those of pandas.
        importlib.import_module("pandas")
    if conversions := sys.modules.get("transformers.conversion_mapping"):
        # Before the first model is loaded; the table is of all types of models, whichever is asked for.
        conversions.get_checkpoint_conversion_mapping("clip")
