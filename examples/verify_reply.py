#!/usr/bin/env python3
"""Verifies replies of an SMRCloud service with a standard BLS12-381 library, and so tells authors of clients in other
languages what a reply proof is.

    python3 -m pip install blspy==2.0.3          or py_ecc, which needs no compiled code and is slower
    python3 examples/verify_reply.py < reply.json

Reads one JSON document, or a list of them, and prints a line for each: `verified`, or `refused: ` and why. Exit code
0 if all are verified, otherwise 1; 2 if there is no library to verify with. Byte strings are hexadecimal digits,
numbers are JSON integers:

    what the client knows by itself, and never takes from whoever brings the reply
      service      32 bytes   from the service's descriptor
      service_key  48 bytes   from the service's descriptor; it never changes
      client       32 bytes   the client's own Ed25519 public key
      session      u64        the session of the command; 0 if the command opens one
      number       u64        the command's number in the session; the nonce if the command opens one
    what the reply brings
      outcome      bytes      what became of the command, encoded as below
      slot         u64        the place in the service's history where the command was decided
      index        u32        which reply of that slot this is, from 0
      count        u32        how many replies the slot has
      siblings     [32 bytes] neighbours on the way from this reply's leaf up to the root
      signature    96 bytes   the service's, over the root of all replies of the slot

An outcome is one byte that says which, and then its content (Borsh; integers are little endian):

    00 length:u32 bytes       the application's answer
    01 session:u64            the session that was asked for is open
    02 reason:u8              refused and not executed: 00 the session is gone, 01 the number is too old,
                              02 the command is too large, 03 there is no room for another session
    03 length:u32 text        the application failed on the command, in the same way on every replica
"""

import binascii
import hashlib
import json
import sys


class Refused(Exception):
    """Why a reply is not to be believed."""


# Keys are points of G1, signatures points of G2, and the suite is the one of Ethereum:
# BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_. A library must refuse points outside of their prime-order subgroup; both
# of these do.
try:
    from blspy import G1Element, G2Element, PopSchemeMPL

    def bls_verify(key, message, signature):
        try:
            return PopSchemeMPL.verify(G1Element.from_bytes(key), message, G2Element.from_bytes(signature))
        except ValueError:  # bytes that are no point
            return False

except ImportError:
    try:
        from py_ecc.bls import G2ProofOfPossession
    except ImportError:
        print("verify_reply.py needs a BLS library: python3 -m pip install blspy==2.0.3", file=sys.stderr)
        sys.exit(2)
    # It raises the limit so far that deeply nested JSON would overflow the stack instead of being refused.
    sys.setrecursionlimit(1000)

    def bls_verify(key, message, signature):
        return G2ProofOfPossession.Verify(key, message, signature)


# The point at infinity. Under this "key" the signature at infinity fits every message. Both libraries refuse it; see
# whether yours does.
NO_KEY = bytes([0xC0]) + bytes(47)


def sha256(*parts):
    """SHA-256 of the parts, one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def u32(number):
    return number.to_bytes(4, "little")


def u64(number):
    return number.to_bytes(8, "little")


def leaf_of(reply):
    """The leaf that stands for the reply in its slot. It names the client and the command, so nobody can pass one
    reply off as another. All fields have fixed lengths, so no two replies give the same bytes."""
    return sha256(
        b"\x00",  # no inner node begins like this, so none can be taken for a leaf
        reply["client"],
        u64(reply["session"]),
        u64(reply["number"]),
        sha256(reply["outcome"]),
    )


def root_of(leaf, index, count, siblings):
    r"""The root of the Merkle tree of `count` leaves whose leaf at `index` is `leaf`.

    Neighbours are hashed in pairs, level by level, until one node is left; a node at the end of a level that has no
    neighbour moves up unchanged. So index and count alone say on which levels there is a sibling, and on which side;
    a list that is longer or shorter proves nothing.

        count = 5        root                  index 0 needs the siblings 1, b, 4
                        /    \                 index 4 needs the sibling a, and nothing else
                       a      4
                     /   \
                    c     b
                   / \   / \
                  0   1 2   3   4
    """
    if index >= count:
        raise Refused(f"index {index} of {count} replies")
    left = list(siblings)
    node, width = leaf, count
    while width > 1:
        if index % 2 == 1 or index + 1 < width:
            if not left:
                raise Refused(f"{len(siblings)} siblings are too few")
            sibling = left.pop(0)
            node = sha256(b"\x01", sibling, node) if index % 2 == 1 else sha256(b"\x01", node, sibling)
        index //= 2
        width = (width + 1) // 2
    if left:
        raise Refused(f"{len(siblings)} siblings are too many")
    return node


def statement_of(service, slot, root, count):
    """The 32 bytes that the service signs for the replies of a slot. They name the count, which the root does not,
    and neither the replicas nor their keys, which may change."""
    return sha256(b"SMRCLOUD-REPLY-V1", service, u64(slot), root, u32(count))


def verify(document):
    """Returns if the reply is to be believed, and raises `Refused` if not."""
    reply = read(document)
    root = root_of(leaf_of(reply), reply["index"], reply["count"], reply["siblings"])
    statement = statement_of(reply["service"], reply["slot"], root, reply["count"])
    if reply["service_key"] == NO_KEY:
        raise Refused("service_key is the point at infinity")
    if not bls_verify(reply["service_key"], statement, reply["signature"]):
        raise Refused("the signature is not the service's over this reply")


# From here on: reading JSON that may be wrong in any way. A client that speaks to the service gets the same fields from
# its frames.
def read(document):
    """The document's fields as bytes and integers of the right size."""
    if not isinstance(document, dict):
        raise Refused("a reply is a JSON object")
    reply = {}
    for name, length in {"service": 32, "service_key": 48, "client": 32, "outcome": None, "signature": 96}.items():
        reply[name] = read_bytes(name, document.get(name), length)
    for name, bits in {"session": 64, "number": 64, "slot": 64, "index": 32, "count": 32}.items():
        number = document.get(name)
        # In Python True is an int, and in JSON it is not.
        if type(number) is not int or not 0 <= number < 1 << bits:
            raise Refused(f"{name} is not an integer of {bits} bits")
        reply[name] = number
    siblings = document.get("siblings")
    if not isinstance(siblings, list):
        raise Refused("siblings is not a list")
    reply["siblings"] = [read_bytes("a sibling", sibling, 32) for sibling in siblings]
    return reply


def read_bytes(name, text, length):
    """The bytes that hexadecimal digits stand for; `length` of them unless it is None."""
    try:
        # Not bytes.fromhex, which skips blanks: two texts for one value are one too many.
        value = binascii.unhexlify(text) if isinstance(text, str) else None
    except ValueError:
        value = None
    if value is None or length not in (None, len(value)):
        raise Refused(f"{name} is not {'bytes' if length is None else f'{length} bytes'} in hexadecimal digits")
    return value


def main():
    try:
        documents = json.loads(sys.stdin.buffer.read())
    except (ValueError, RecursionError):
        documents = None
    if not isinstance(documents, list):
        documents = [documents]
    all_verified = bool(documents)
    for document in documents:
        try:
            verify(document)
            print("verified")
        except Refused as why:
            print(f"refused: {why}")
            all_verified = False
    sys.exit(0 if all_verified else 1)


if __name__ == "__main__":
    main()
