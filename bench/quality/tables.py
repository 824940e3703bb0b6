"""The tables that densities are trained on. Each comes with a SOURCE.txt in the folder that `--data-dir` names."""

import csv
import datetime
import gzip
import io
import zipfile

import numpy


def _gzipped(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return numpy.array([[float(cell) for cell in row] for row in csv.reader(lines) if row])


def _power(folder):
    """Household power, a half year: active power, voltage, three sub-meters, minute of the day."""
    rows = []
    with zipfile.ZipFile(folder / "power" / "household_power_consumption_2007H1.zip") as archive:
        with archive.open(archive.namelist()[0]) as binary:
            for row in csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8")):
                cells = [row[name] for name in ("Global_active_power", "Voltage", "Sub_metering_1", "Sub_metering_2",
                                                "Sub_metering_3")]
                if any(cell in ("", "?") for cell in cells):
                    continue
                time = datetime.time.fromisoformat(row["Time"].zfill(8))
                rows.append([*map(float, cells), 60 * time.hour + time.minute])
    return numpy.array(rows)


def _diamonds(folder):
    """Prices and measures; the three grades are left out."""
    names = ("carat", "depth", "table", "price", "x", "y", "z")
    with open(folder / "tabular" / "diamonds.csv", encoding="utf-8") as lines:
        return numpy.array([[float(row[name]) for name in names] for row in csv.DictReader(lines)])


def _uci(name):
    return lambda folder: _gzipped(folder / "uci_small" / f"{name}.csv.gz")


TABLES = {
    "power": _power,
    "protein": _uci("protein"),
    "kin40k": _uci("kin40k"),
    "keggundirected": _uci("keggundirected"),
    "diamonds": _diamonds,
}


def _dequantized(rows, random):
    """Rows with noise as wide as the resolution of each column that repeats its numbers. A density of numbers that repeat
    would grow without bound; the noise, at least a thousandth of a standard deviation, bounds it for everybody alike."""
    rows = rows.copy()
    for j in range(rows.shape[1]):
        values = numpy.unique(rows[:, j])
        if 2 * len(values) > len(rows) or len(values) < 2:
            continue
        width = max(numpy.diff(values).min(), 1e-3 * rows[:, j].std())
        rows[:, j] += random.uniform(0, width, len(rows))
    return rows


def load(name, folder, limit=None):
    """Train, validation and test rows (8 : 1 : 1), float32, standardised by the first two. Constant columns are left
    out. The same split in every run."""
    random = numpy.random.default_rng(0)
    rows = TABLES[name](folder)
    rows = _dequantized(rows[:, rows.std(axis=0) > 0], random)
    rows = rows[random.permutation(len(rows))[:limit]]
    begin_test = len(rows) - len(rows) // 10
    begin_validation = begin_test - len(rows) // 10
    known = rows[:begin_test]
    rows = ((rows - known.mean(axis=0)) / known.std(axis=0)).astype("<f4")
    return rows[:begin_validation], rows[begin_validation:begin_test], rows[begin_test:]


ANOMALIES = {"mammography": "23_mammography", "pendigits": "28_pendigits", "shuttle": "32_shuttle",
             "PageBlocks": "27_PageBlocks"}


def load_anomalies(name, folder, seed):
    """Rows to train on, whose labels nobody looks at, and rows to test on with their labels: halves by `seed`."""
    with numpy.load(folder / "adbench" / f"{ANOMALIES[name]}.npz", allow_pickle=False) as data:
        rows, labels = data["X"].astype(float), data["y"].astype(int)
    rows = rows[:, rows.std(axis=0) > 0]
    order = numpy.random.default_rng(seed).permutation(len(rows))
    half = len(rows) // 2
    train, test = order[:half], order[half:]
    scale = rows[train].std(axis=0)
    rows = (rows - rows[train].mean(axis=0)) / numpy.where(scale > 0, scale, 1)
    return rows[train].astype("<f4"), rows[test].astype("<f4"), labels[test]
