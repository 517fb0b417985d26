"""The desk's server as a process of its own, to be killed: `python -m benchmarks.harness.desk_server FOLDER PORT`."""

import sys
from pathlib import Path

from clinlens.desk.config import DeskConfig
from clinlens.desk.extension import desk
from clinlens.serve import Place, opened
from labeling.web.config import WebConfig


def serve(folder: Path, port: int) -> None:
    """Serves until killed; nobody is told to slow down, for fifty clients have one address here."""
    config = WebConfig(port=port, requests_per_minute=10_000_000)
    place = Place(folder, str(folder / "clinlens.db"))
    with opened(place, config, [desk(folder, cfg=DeskConfig(max_deaths=3))]) as ready:
        ready.run()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
