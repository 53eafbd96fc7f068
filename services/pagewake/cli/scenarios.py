"""`pagewake scenarios`: what there is to run, whose rules, and what an event can do."""

from __future__ import annotations

from typing import Annotated

import typer

from pagewake.cli.listing import listing
from pagewake.cli.options import JsonOption
from pagewake.cli.output import print_json
from pagewake.cli.profiles import print_profiles
from pagewake.cli.screen import print_text
from pagewake.errors import ConfigError
from pagewake.scenario.interventions import describe_events
from pagewake.scenario.library import describe_builtins


def scenarios(
    profiles: Annotated[
        bool, typer.Option("--profiles", help="List the kernel profiles and their switches.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="List what an event of a scenario can do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the built-in scenarios, the kernel profiles, or the events of a scenario."""
    if profiles and events:
        raise ConfigError("--profiles and --events are two lists: ask for one at a time")
    if profiles:
        print_profiles(as_json)
    elif as_json:
        print_json(describe_events() if events else describe_builtins())
    else:
        print_text(listing(describe_events() if events else describe_builtins()))
