"""The other end of TestScapyUnderstandsUs: one JSON request a line, one answer a line.

{"op": "open", ...,  "packet": hex ESP}   -> {"inner": hex IP packet} or {"error": ...}
{"op": "seal", ..., "seq": n, "inner": hex IP packet} -> {"packet": hex ESP}
"""
import json
import sys
import warnings

warnings.filterwarnings("ignore")
import logging

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation

OUTER = dict(src="192.0.2.1", dst="192.0.2.2")


def inner_packet(raw):
    return IPv6(raw) if raw[0] >> 4 == 6 else IP(raw)


def answer(q):
    sa = SecurityAssociation(
        ESP, spi=q["spi"], seq_num=q.get("seq", 1),
        crypt_algo=q["crypt"], crypt_key=bytes.fromhex(q["crypt_key"]),
        auth_algo=q["auth"] or None, auth_key=bytes.fromhex(q["auth_key"]) or None,
        tunnel_header=IP(**OUTER), esn_en=q["esn"], esn=q["esn_high"])
    if q["op"] == "seal":
        out = sa.encrypt(inner_packet(bytes.fromhex(q["inner"])))
        return {"packet": bytes(out[ESP]).hex()}
    packet = IP(**OUTER, proto=50) / ESP(bytes.fromhex(q["packet"]))
    return {"inner": bytes(sa.decrypt(IP(bytes(packet)))).hex()}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as e:  # told to the test, which fails with it
        reply = {"error": "%s: %s" % (type(e).__name__, e)}
    print(json.dumps(reply), flush=True)
