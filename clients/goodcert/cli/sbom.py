"""`goodcert sbom`: the software bill of materials of this installation, CycloneDX 1.6 in JSON: goodcert, and what
it needs, with its extras, as far as that is installed. Tools for its development are not in it."""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "goodcert"
DEVELOPMENT = frozenset({"dev", "fuzz"})


def add_arguments(_: argparse.ArgumentParser) -> None:
    """The command has no options; every verb of the command line has this function."""


def run(_: argparse.Namespace) -> int:
    print(make_outputter(bill(), OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2))
    return 0


def bill() -> Bom:
    """Every package with its version, address and licence, and which needs which."""
    needs = installed_needs()
    components = {name: _component(name) for name in needs}
    bom = Bom(components=[components[name] for name in needs if name != ROOT])
    bom.metadata.component = components[ROOT]
    for name, needed in needs.items():
        bom.register_dependency(components[name], [components[other] for other in sorted(needed)])
    return bom


def installed_needs() -> dict[str, set[str]]:
    """Every installed package that is needed, with the installed ones that it needs."""
    extras = set(distribution(ROOT).metadata.get_all("Provides-Extra") or ()) - DEVELOPMENT
    needs: defaultdict[str, set[str]] = defaultdict(set)
    waiting, met = [(ROOT, frozenset(extras))], set()
    while waiting:
        name, wanted = waiting.pop()
        met.add((name, wanted))
        found = [(canonicalize_name(need.name), frozenset(need.extras)) for need in _required(name, wanted)]
        needs[name] |= {other for other, _ in found} - {name}
        waiting += set(found) - met
    return needs


def _required(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What is asked for on this machine by a package with these extras, and is there."""
    for need in map(Requirement, distribution(name).requires or ()):
        asked = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if asked and _is_installed(need.name):
            yield need


def _is_installed(name: str) -> bool:
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def _component(name: str) -> Component:
    about = distribution(name)
    told = [about.metadata.get_all(field) or [""] for field in ("License-Expression", "License")]
    licence = told[0][0] or told[1][0]
    return Component(
        type=ComponentType.APPLICATION if name == ROOT else ComponentType.LIBRARY,
        name=name,
        version=about.version,
        bom_ref=name,
        purl=PackageURL("pypi", None, name, about.version),
        licenses=[LicenseFactory().make_from_string(licence)] if 0 < len(licence) < 100 else [],
    )
