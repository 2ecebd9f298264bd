"""Print what 100, 1,000 and 10,000 participants need, and which limit of one machine they meet first: arithmetic.

    .venv/bin/python bench/scale.py
    .venv/bin/python bench/scale.py --cpu-ms 18 --cores 16 --relayed 0.3

The defaults of --cpu-ms, --up-mbit, --down-mbit and --memory-mb were measured (docs/scale.md says how); the others are
assumptions about a machine, to be replaced by those of the machine at hand. Nothing is simulated beyond the chance that
a newcomer finds all places taken: Erlang's formula B for arrivals that do not know of each other and do not wait.
"""

import argparse
import math

COUNTS = (1, 10, 100, 1_000, 10_000)
UTILISATION = 0.7  # of a core or a network port: above it, what waits grows faster than what comes
REFUSED = 0.01  # of newcomers, at most


def places_for(load: float, refused: float = REFUSED) -> int:
    """Returns the fewest places at which at most `refused` of the newcomers find none (Erlang B).

    `load` is the mean number of participants if nobody were refused.
    """
    share, places = 1.0, 0
    while share > refused:
        places += 1
        share = load * share / (places + load * share)
    return places


def limits(options: argparse.Namespace) -> dict[str, int]:
    """Returns how many participants each resource of one machine carries, by its name."""
    cores = options.fps * options.cpu_ms / 1e3
    port = UTILISATION * options.port_mbit
    return {
        "CPU": math.floor(UTILISATION * options.cores / cores),
        "network port": math.floor(port / max(options.up_mbit, options.down_mbit)),
        "memory": math.floor((1024 * options.memory_gb - options.base_mb) / options.memory_mb),
        "UDP ports": options.udp_ports // options.ports_each,
    }


def main() -> None:
    """Prints the limits of one machine, then one line a number of participants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=30.0, help="of the camera")
    parser.add_argument("--cpu-ms", type=float, default=18.0, help="of the server, a frame (relight bench --loopback)")
    parser.add_argument("--up-mbit", type=float, default=1.7, help="of a participant, to the server")
    parser.add_argument("--down-mbit", type=float, default=1.3, help="of a participant, from the server")
    parser.add_argument("--base-mb", type=float, default=360.0, help="memory of a server without participants")
    parser.add_argument("--memory-mb", type=float, default=75.0, help="memory of each participant")
    parser.add_argument("--cores", type=float, default=16.0, help="of one machine")
    parser.add_argument("--memory-gb", type=float, default=32.0, help="of one machine")
    parser.add_argument("--port-mbit", type=float, default=1000.0, help="of one machine, each way")
    parser.add_argument("--udp-ports", type=int, default=28_232, help="ephemeral ports (Linux: 32768 to 60999)")
    parser.add_argument("--ports-each", type=int, default=2, help="sockets of a participant: one an address")
    parser.add_argument("--relayed", type=float, default=0.15, help="share of participants that need TURN")
    options = parser.parse_args()
    numbers = {name: value for name, value in vars(options).items() if name != "relayed"}
    for name, value in numbers.items():
        if not value > 0:
            parser.error(f"--{name.replace('_', '-')} is {value}; give a number above 0")
    if not 0 <= options.relayed <= 1:
        parser.error(f"--relayed is {options.relayed}; give a share from 0 to 1")
    found = limits(options)
    first = min(found, key=lambda name: found[name])
    print(f"One machine carries, at {UTILISATION:.0%} of a core and of a network port:")
    for name, carried in sorted(found.items(), key=lambda item: item[1]):
        print(f"  {name:14}{carried:8} participants{'   <- the first limit' if name == first else ''}")
    if found[first] < 1:
        parser.error(f"one machine carries nobody: its {first} is too small")
    print(
        "\nparticipants   places*  machines     cores   Gbit/s in  Gbit/s out   TURN Gbit/s†   hit by a machine's death"
    )
    for count in COUNTS:
        places = places_for(count)
        machines = math.ceil(places / found[first])
        cores = count * options.fps * options.cpu_ms / 1e3
        up, down = count * options.up_mbit / 1e3, count * options.down_mbit / 1e3
        relay = 2 * options.relayed * (up + down)
        hit = min(1.0, found[first] / places)
        print(f"{count:12}{places:10}{machines:10}{cores:10.0f}{up:12.2f}{down:12.2f}{relay:15.2f}{hit:27.1%}")
    print(f"\n* at most {REFUSED:.0%} of the newcomers are refused.  † in and out, of {options.relayed:.0%} of them.")


if __name__ == "__main__":
    main()
