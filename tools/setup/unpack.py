"""Checks downloaded wheels against their pins and unpacks the C++ parts: unpack.py cpu|cuda PINS WHEELS TARGET

A wheel is a zip archive; Python is a prerequisite for pip anyway, so `unzip` need not be one too.
"""

import fnmatch
import hashlib
import os
import shutil
import sys
import zipfile

KEEP = ("torch/lib/*", "torch/include/*", "torch/share/*", "torch/version.py", "nvidia/*")
DROP = {
    # Without these on disk torch-sys links the CPU libraries alone.
    "cpu": ("torch/lib/libtorch_cuda*", "torch/lib/libtorch_python*", "torch/lib/libtorch_nvshmem*"),
    "cuda": ("torch/lib/libtorch_python*",),
}


def fail(message, hint):
    sys.exit(f"error: {message}\n  hint: {hint}")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def verify(pins, wheels):
    """The wheels' paths; exits unless their hashes are exactly the pinned ones."""
    with open(pins, encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    missing = {row[3]: f"{row[0]} {row[1]}" for row in rows}
    paths = sorted(os.path.join(wheels, name) for name in os.listdir(wheels) if name.endswith(".whl"))
    for path in paths:
        if missing.pop(sha256(path), None) is None:
            fail(
                f"`{os.path.basename(path)}` is not the file psann expects (its sha256 differs from the pinned one)",
                "the download was damaged or the package index serves another file; run the command again, or try another index",
            )
    if missing:
        fail(f"pip did not download {', '.join(missing.values())}", "run the command again")
    return paths


def unpack(flavour, path, target):
    def matches(name, patterns):
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or not matches(info.filename, KEEP) or matches(info.filename, DROP[flavour]):
                continue
            out = os.path.join(target, info.filename)
            os.makedirs(os.path.dirname(out), exist_ok=True)
            with archive.open(info) as source, open(out, "wb") as sink:  # reading checks the CRC
                shutil.copyfileobj(source, sink, 1 << 20)
            mode = info.external_attr >> 16 & 0o777
            if mode:
                os.chmod(out, mode)


def main(flavour, pins, wheels, target):
    try:
        for path in verify(pins, wheels):
            unpack(flavour, path, target)
        if flavour == "cpu":
            # The original also loads libtorch_cuda; to the linker this line is as good as a library.
            with open(os.path.join(target, "torch/lib/libtorch.so"), "w", encoding="ascii") as file:
                file.write("INPUT(libtorch_cpu.so)\n")
    except (OSError, zipfile.BadZipFile) as error:
        fail(f"cannot unpack libtorch: {error}", "is the disk full?  `PSANN_LIBTORCH=DIR` puts it on another one")


if __name__ == "__main__":
    main(*sys.argv[1:])
