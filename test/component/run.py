"""The component file under wasmtime, a host that shares nothing with the JavaScript one: its digests and images must be the
same. Needs the package in requirements.txt; ends with one line of counts and status 1 if anything failed.

    python test/component/run.py [COMPONENT]
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Record, Variant

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = Path(os.environ.get("COMPOSEFS_GOLDENS", ROOT / "test/goldens"))
# Larger data shows nothing more about the component, and the interpreter is slow to make it.
LIMIT = 300_000


class Interface:
    """The functions of one exported interface, called by their WIT names."""

    def __init__(self, store, instance, name):
        self.store = store
        self.instance = instance
        self.index = instance.get_export_index(store, name)
        if self.index is None:
            raise LookupError(f"the component does not export {name}")

    def call(self, name, *args):
        function = self.instance.get_func(self.store, self.instance.get_export_index(self.store, name, self.index))
        try:
            return function(self.store, *args)
        finally:
            function.post_return(self.store)


def pattern_data(size, pattern):
    kind = pattern["kind"]
    if kind == "byte":
        return bytes([pattern["value"]]) * size
    if kind == "tail":
        return bytes([pattern["value"]]) * (size - 1) + bytes([pattern["last"]])
    if kind == "affine":
        return bytes((i * pattern["mul"] + pattern["add"]) % 256 for i in range(size))
    x = pattern["seed"]
    data = bytearray()
    while len(data) < size:
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        data += x.to_bytes(4, "little")
    return bytes(data[:size])


def streamed(fsverity, algorithm, data):
    hasher = fsverity.call("[constructor]hasher", algorithm)
    lengths = [1, 4095, 4097, 10_000]
    start = 0
    while start < len(data):
        length = lengths[0]
        lengths = lengths[1:] + lengths[:1]
        fsverity.call("[method]hasher.update", hasher, data[start : start + length])
        start += length
    digest = fsverity.call("[method]hasher.finish", hasher)
    assert fsverity.call("[method]hasher.finish", hasher) == b"", "a spent hasher gives a digest"
    hasher.drop(fsverity.store)
    return digest.hex()


def check_vector(fsverity, vector):
    data = pattern_data(vector["size"], vector["pattern"])
    for algorithm in ("sha256", "sha512"):
        assert fsverity.call("digest", algorithm, data).hex() == vector[algorithm], f"{algorithm} digest"
        assert streamed(fsverity, algorithm, data) == vector[algorithm], f"{algorithm} digest, streamed"


def check_blocks(fsverity, algorithm):
    data = pattern_data(9 * 4096 + 100, {"kind": "xorshift32", "seed": 3})
    expected = b"".join(
        hashlib.new(algorithm, data[start : start + 4096].ljust(4096, b"\0")).digest() for start in range(0, len(data), 4096)
    )
    assert fsverity.call("hash-blocks", algorithm, data) == expected


def options(**fields):
    record = Record()
    for name, value in fields.items():
        setattr(record, name.replace("_", "-"), value)
    return record


def write_image(erofs, dump, version, dialect, objects):
    """The image of a dump and its digest, or the core's refusal."""
    writer = erofs.call(
        "[constructor]writer",
        options(min_version=version, max_version=version, dialect=dialect, objects=objects, image="sha256"),
    )
    try:
        for start in range(0, len(dump), 5000):
            failure = erofs.call("[method]writer.push-dump", writer, dump[start : start + 5000])
            if failure is not None:
                return failure
        result = erofs.call("[method]writer.finish", writer)
        # Both cases are records: only then does the host wrap them.
        assert isinstance(result, Variant), f"finish gives a {type(result).__name__}"
        if result.tag != "ok":
            return result.payload
        result = result.payload
        image = b""
        while piece := erofs.call("[method]writer.pull", writer, 65536):
            image += piece
        assert len(image) == result.size, f"{len(image)} bytes of image, announced {result.size}"
        return image, erofs.call("[method]writer.digest", writer).hex()
    finally:
        writer.drop(erofs.store)


def check_image(erofs, dump, version, dialect, objects, expected):
    result = write_image(erofs, dump, version, dialect, objects)
    if "error" in expected:
        assert isinstance(result, Record), "was taken, must be refused"
        assert result.message, "refused without a reason"
        return
    assert not isinstance(result, Record), f"refused: {getattr(result, 'message', '')}"
    image, digest = result
    assert hashlib.sha256(image).hexdigest() == expected["sha256"], "image"
    assert digest == expected["fsverity_sha256"], "image digest"


def cases(fsverity, erofs):
    vectors = json.loads((GOLDENS / "fsverity/vectors.json").read_text())["vectors"]
    for vector in vectors:
        if vector["size"] <= LIMIT:
            yield f"fs-verity of {vector['size']} bytes {vector['pattern']}", lambda v=vector: check_vector(fsverity, v)
    for algorithm in ("sha256", "sha512"):
        yield f"block hashes, {algorithm}", lambda a=algorithm: check_blocks(fsverity, a)
    files = json.loads((GOLDENS / "erofs/index.json").read_text())["files"]
    for name, entry in files.items():
        path = GOLDENS / "erofs" / name
        if not path.is_file() or path.stat().st_size > LIMIT:
            continue
        dump = path.read_bytes()
        # "v1" is the C tool's result for sha256 and that of composefs-rs for sha512.
        dialects = {"v1": (1, "c" if entry["hash"] == "sha256" else "rs"), "v1_rs": (1, "rs"), "v2": (2, "rs")}
        for variant, (version, dialect) in dialects.items():
            if variant in entry["variants"]:
                yield (
                    f"image of {name}, {variant}",
                    lambda d=dump, v=version, c=dialect, e=entry, n=variant: check_image(
                        erofs, d, v, c, e["hash"], e["variants"][n]
                    ),
                )


def main():
    default = ROOT / "src/core/generated/core.component.wasm"
    engine = Engine()
    component = Component.from_file(engine, str(sys.argv[1] if len(sys.argv) > 1 else default))
    store = Store(engine)
    # Nothing is defined in the linker: the component must not import anything.
    instance = Linker(engine).instantiate(store, component)
    fsverity = Interface(store, instance, "composefs:core/fsverity@0.1.0")
    erofs = Interface(store, instance, "composefs:core/erofs@0.1.0")
    passed = failed = 0
    for name, check in cases(fsverity, erofs):
        try:
            check()
            passed += 1
        except Exception as error:  # noqa: BLE001 -- every fault is a failed case, a trap too
            failed += 1
            print(f"failed: {name}: {error}")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
