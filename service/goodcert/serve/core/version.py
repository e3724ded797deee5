"""The version of the installed package."""

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version


@cache
def version() -> str:
    """The installed version of goodcert."""
    try:
        return package_version("goodcert")
    except PackageNotFoundError:
        return "unknown"
