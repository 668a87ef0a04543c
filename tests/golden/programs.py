"""Where the `smoothout` program is."""
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def smoothout():
    """$SMOOTHOUT, or what cargo built last."""
    if "SMOOTHOUT" in os.environ:
        return os.environ["SMOOTHOUT"]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [p for p in (target / "release/smoothout", target / "debug/smoothout") if p.exists()]
    if not built:
        sys.exit("there is no smoothout program: cargo build --release first, or set SMOOTHOUT")
    return str(max(built, key=lambda p: p.stat().st_mtime))
