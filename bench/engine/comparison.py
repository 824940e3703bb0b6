"""Which bars the figures of compiled plans are held to."""

MOST_ROWS = 4096


def _ratio_bar(preset, features, op):
    """The bar for zuko's time / ours with 4096 rows, or None."""
    if op not in ("log_prob", "sample"):
        return None
    if preset == "nsf_ar" and op == "sample":
        return "nsf_ar_sample_zuko"
    if preset in ("nsf_coupling", "nsf_ar"):
        return "nsf_zuko"
    return {
        ("realnvp", 6, "log_prob"): "realnvp_zuko",
        ("realnvp", 6, "sample"): "realnvp_zuko",
        ("maf", 6, "log_prob"): "maf_log_prob_zuko",
        ("maf", 6, "sample"): "maf_sample_zuko_6",
        ("maf", 63, "sample"): "maf_sample_zuko_63",
    }.get((preset, features, op))


def compare_plans(suite, entries):
    """Compares the entries that engine.py makes (one per model, operation and number of rows) with their bars."""
    times = {(entry["preset"], entry["features"], entry["op"], entry["rows"]): entry["us"] for entry in entries}
    for entry in entries:
        preset, features, op, rows = (entry[key] for key in ("preset", "features", "op", "rows"))
        where = f"{preset} D = {features} {op}"
        if rows == 1 and features == 6 and preset in ("realnvp", "maf"):
            suite.compare("one_row", where, entry["us"])
        if rows != MOST_ROWS:
            continue
        if entry["share_of_onednn"]:
            suite.compare("kernel_share", where, entry["share_of_onednn"])
        if preset == "maf" and op == "sample":
            suite.compare("maf_sample_log_prob", where, entry["us"] / times[preset, features, "log_prob", rows])
        bar = _ratio_bar(preset, features, op)
        zuko = entry["peers"].get("zuko", {}).get("ratio")
        if bar and zuko:
            # What the same time of zuko's would be if no multiply-add were wasted here.
            most = zuko / entry["share_of_multiply_adds"]
            suite.compare(bar, where, zuko, f"this processor's peak allows {most:.1f}x")
