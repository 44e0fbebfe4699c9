"""`g3pt doctor`: print what `doctor.py` finds."""

from collections.abc import Sequence
from dataclasses import dataclass

from g3pt.cli.options import CommonOptions, parse, report, say


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorOptions(CommonOptions):
    """Look at machine and installation; nothing is changed, the network is not used."""

    recipes: bool = False
    """Also say what each published recipe needs and whether it fits; takes half a minute."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = parse(DoctorOptions, "doctor", arguments)

    from g3pt.cli import doctor

    findings = doctor.examine(
        options.weights, lambda name: say(f"looking at {name}"), recipes=options.recipes
    )
    report(options, doctor.as_json(findings), [doctor.as_text(findings)])
    return 0
