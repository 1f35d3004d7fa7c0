#!/usr/bin/env python3
"""Packs TA-onepassword-s3 for Splunk, the same bytes for the same files.

`package.py [FOLDER]` writes FOLDER/TA-onepassword-s3-<version>.tgz; FOLDER is dist by default.
"""

import configparser
import gzip
import io
import sys
import tarfile
from pathlib import Path

APP = Path(__file__).parent / "TA-onepassword-s3"
LICENSE = Path(__file__).parents[3] / "LICENSE"


def version() -> str:
    conf = configparser.RawConfigParser()
    conf.read(APP / "default/app.conf")
    return conf["launcher"]["version"]


def package() -> bytes:
    # `local` is what an installation makes of it.
    paths = [path for folder in ("README", "default", "metadata") for path in (APP / folder).iterdir()]
    files = {path.relative_to(APP.parent): path for path in paths} | {Path(APP.name, "LICENSE"): LICENSE}
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as gz,
        tarfile.open(fileobj=gz, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            member = tarfile.TarInfo(name.as_posix())
            member.size = len(content)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def main() -> None:
    folder = Path(*sys.argv[1:] or ["dist"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{APP.name}-{version()}.tgz"
    path.write_bytes(package())
    print(path)


if __name__ == "__main__":
    main()
