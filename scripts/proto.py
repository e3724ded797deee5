"""Make the descriptors of the gRPC messages from inference.proto; with --check, only say whether they are."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc

FOLDER = Path(__file__).parent.parent / "service/goodcert/serve/oip"
SOURCE, MADE = FOLDER / "inference.proto", FOLDER / "inference.binpb"


def descriptors() -> bytes:
    """A FileDescriptorSet."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / MADE.name
        status = protoc.main(["protoc", f"-I{FOLDER}", f"--descriptor_set_out={made}", SOURCE.name])
        if status:
            raise SystemExit(status)
        return made.read_bytes()


def main() -> int:
    if "--check" in sys.argv[1:]:
        current = MADE.read_bytes() == descriptors()
        print("" if current else f"{MADE.name} is out of date; run scripts/proto.py")
        return int(not current)
    MADE.write_bytes(descriptors())
    print(f"wrote {MADE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
