"""Opens or seals raw ESP with scapy.

esp.py open SPI CRYPT KEY AUTH KEY FROM TO PCAP        prints how many pings there are in it
esp.py seal SPI CRYPT KEY AUTH KEY FROM TO SRC DST     sends ten pings from SRC to DST
"""
import sys

from scapy.all import ICMP, IP, Raw, conf, rdpcap, send
from scapy.layers.ipsec import ESP, SecurityAssociation

what, spi, crypt, crypt_key, auth, auth_key, src, dst = sys.argv[1:9]
sa = SecurityAssociation(
    ESP,
    spi=int(spi, 16),
    crypt_algo=crypt,
    crypt_key=bytes.fromhex(crypt_key),
    auth_algo=auth if auth != "NULL" else None,
    auth_key=bytes.fromhex(auth_key) or None,
    tunnel_header=IP(src=src, dst=dst),
)

if what == "open":
    pings = 0
    for p in rdpcap(sys.argv[9]):
        if ESP in p and p[ESP].spi == int(spi, 16):
            inner = sa.decrypt(p[IP])  # raises on a wrong ICV
            if ICMP in inner and len(inner[ICMP].payload) == 333:
                pings += 1
    print(pings)
else:
    conf.verb = 0
    sa.seq_num = 100_000
    for i in range(10):
        inner = IP(src=sys.argv[9], dst=sys.argv[10]) / ICMP(type=8, id=4711, seq=i) / Raw(b"x" * (100 + i))
        send(sa.encrypt(inner))
