#!/usr/bin/env python3
"""Makes examples/power/power.csv from the UCI file of household electric power consumption.

  make_power_example.py household_power_consumption.txt[.gz] examples/power/power.csv [--seed N]

The recipe is that of the MAF paper (Papamakarios et al. 2017, appendix D): five measurements and the time of day; uniform
noise within one step of each meter, so that the data have a density; rows shuffled. Values are rounded to a hundredth
of a meter's step. The same input and options give the same file, byte for byte.
"""

import argparse
import gzip

import numpy as np

# Column of the source, its name here, the meter's step, and the digits that are written.
_COLUMNS = [
    ("Global_active_power", "active_power_kw", 0.001, 5),
    ("Voltage", "voltage_v", 0.01, 4),
    ("Sub_metering_1", "sub_metering_1_wh", 1.0, 2),
    ("Sub_metering_2", "sub_metering_2_wh", 1.0, 2),
    ("Sub_metering_3", "sub_metering_3_wh", 1.0, 2),
]


def read_rows(path):
    """(N, 6) measurements and minutes since midnight, of the lines without a missing value."""
    opener = gzip.open if str(path).endswith(".gz") else open
    rows = []
    with opener(path, "rt", encoding="ascii") as file:
        header = file.readline().strip().split(";")
        positions = [header.index(name) for name, _, _, _ in _COLUMNS]
        time_position = header.index("Time")
        for line in file:
            cells = line.strip().split(";")
            if len(cells) != len(header) or any(cells[position] in ("", "?") for position in positions):
                continue
            hours, minutes, _ = cells[time_position].split(":")
            rows.append([float(cells[position]) for position in positions] + [60 * int(hours) + int(minutes)])
    return np.array(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    rows = read_rows(arguments.source)
    random = np.random.Generator(np.random.Philox(arguments.seed))
    for column, (_, _, step, _) in enumerate(_COLUMNS):
        rows[:, column] += step * random.random(len(rows))
    rows = rows[random.permutation(len(rows))]

    with open(arguments.output, "w", encoding="ascii") as file:
        file.write(",".join([name for _, name, _, _ in _COLUMNS] + ["minute_of_day"]) + "\n")
        for row in rows:
            cells = [f"{value:.{digits}f}" for value, (_, _, _, digits) in zip(row, _COLUMNS)]
            file.write(",".join([*cells, f"{row[-1]:.0f}"]) + "\n")
    print(f"{arguments.output}: {len(rows)} rows")


if __name__ == "__main__":
    main()
